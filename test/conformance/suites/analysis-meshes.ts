// Random meshes that istioctl 1.32 analysed as a whole cluster (`istioctl analyze -A -o json` against a Kubernetes API that
// served them, analysis/record.ts): every message, word for word. What its validation says (IST0106, IST0133) is compared elsewhere, and our
// messages name the field.
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { type AnalysisItem, analyze } from '../../../src/config/index.ts'
import type { Difference, Suite } from '../suite.ts'

interface Case {
  readonly id: string
  readonly objects: readonly AnalysisItem['object'][]
  /** `CODE Level Kind namespace/name text`, sorted. */
  readonly messages: readonly string[]
}

const RECORDED = new URL('../analysis/recorded.json.golden', import.meta.url)
const SYSTEM = 'istio-system'
/** Compared elsewhere, or about the CRDs of the cluster that istioctl saw. */
const LEFT_OUT = new Set(['IST0106', 'IST0133', 'IST0176'])

export const suite: Suite = {
  name: 'analysis-meshes',
  run: async () => {
    const cases = JSON.parse(readFileSync(RECORDED, 'utf8')) as readonly Case[]
    const differences: Difference[] = []
    for (const { id, objects, messages: recorded } of cases) {
      const said = messagesOf(objects)
      const messages = recorded.map(withoutReason)
      const missing = without(messages, said).map((text) => `missing: ${text}`)
      const extra = without(said, messages).map((text) => `extra: ${text}`)
      if (missing.length + extra.length > 0) differences.push({ id, message: [...missing, ...extra].join('\n') })
    }
    return { total: cases.length, differences }
  },
}

function messagesOf(objects: Case['objects']): string[] {
  const item = (object: AnalysisItem['object']): AnalysisItem => ({
    object,
    hasNamespace: object.metadata.namespace !== undefined,
    reference: () => '',
  })
  const options = { namespace: 'default', istioNamespace: SYSTEM, rootNamespace: SYSTEM, proxyMetadata: {} }
  return analyze([...objects, ...objects.flatMap(meshNetworks)].map(item), options)
    .filter(({ code }) => !LEFT_OUT.has(code))
    .map(({ code, level, origin, message }) => withoutReason(`${code} ${level} ${origin} ${message}`))
    .sort()
}

/** Why the value of an annotation cannot be used, istioctl says in the words of Go's parsers. */
function withoutReason(text: string): string {
  return text.startsWith('IST0125') ? text.replace(/(Invalid annotation \S+): .*/s, '$1') : text
}

/** MeshNetworks stands inside the ConfigMap `istio`. */
function meshNetworks({ kind, metadata, data }: AnalysisItem['object']): AnalysisItem['object'][] {
  if (kind !== 'ConfigMap' || metadata.name !== 'istio' || metadata.namespace !== SYSTEM) return []
  const text = (data as { readonly meshNetworks?: string } | undefined)?.meshNetworks
  const named = { name: 'meshnetworks', namespace: SYSTEM }
  return text ? [{ ...(parse(text) as object), apiVersion: 'v1', kind: 'MeshNetworks', metadata: named }] : []
}

/** What `list` has more often than `other`. */
function without(list: readonly string[], other: readonly string[]): string[] {
  const rest = [...other]
  return list.filter((text) => {
    const index = rest.indexOf(text)
    if (index >= 0) rest.splice(index, 1)
    return index < 0
  })
}
