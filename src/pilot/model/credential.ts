// What stands in Secrets and ConfigMaps that are used as credentials.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { errorText } from '../../base/errors.ts'
import type { KubeObject } from '../../cluster/index.ts'

/** Names a credential that never comes: connections fail, rather than go unverified. */
export const NO_CREDENTIAL = 'invalid://'

/** The first of the named entries that is there and not empty. */
export function credentialBytes(object: KubeObject, names: readonly string[]): Buffer | undefined {
  const plain = (object.kind === 'ConfigMap' ? object.data : object.stringData) as Record<string, unknown> | undefined
  const encoded = object.kind === 'Secret' ? (object.data as Record<string, unknown> | undefined) : undefined
  for (const name of names) {
    const text = plain?.[name]
    const base64 = encoded?.[name]
    const bytes =
      typeof text === 'string' ? Buffer.from(text) : typeof base64 === 'string' ? Buffer.from(base64, 'base64') : null
    if (bytes && bytes.length > 0) return bytes
  }
  return undefined
}

const checked = new WeakMap<KubeObject, Map<string, string | null>>()

/** What is wrong with a Secret as a server certificate and its key; null: nothing. */
export function keyPairProblem(object: KubeObject): string | null {
  return once(object, 'pair', () => {
    const chain = credentialBytes(object, ['tls.crt', 'cert'])
    const key = credentialBytes(object, ['tls.key', 'key'])
    if (!chain || !key) return `has no ${chain ? 'tls.key' : 'tls.crt'}`
    const certificate = new X509Certificate(chain)
    return certificate.checkPrivateKey(createPrivateKey(key)) ? null : 'has a key that is not that of its certificate'
  })
}

/** What is wrong with a Secret or ConfigMap as a bundle of authorities; null: nothing. */
export function authorityProblem(object: KubeObject): string | null {
  return once(object, 'authority', () => {
    const bundle = credentialBytes(object, ['ca.crt', 'cacert'])
    if (!bundle) return 'has no ca.crt'
    new X509Certificate(bundle)
    return null
  })
}

/** Parsing keys costs; an object never changes. */
function once(object: KubeObject, question: string, answer: () => string | null): string | null {
  let answers = checked.get(object)
  if (!answers) checked.set(object, (answers = new Map()))
  let known = answers.get(question)
  if (known === undefined) {
    try {
      known = answer()
    } catch (error) {
      known = `is not PEM that can be read: ${errorText(error)}`
    }
    answers.set(question, known)
  }
  return known
}
