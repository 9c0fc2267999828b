// Secrets and ConfigMaps that listeners, Gateways and policies name: whether they may be used, and under which name.
import type {
  ClientValidation,
  GatewayApiListener,
  GatewayApiResource,
  ObjectReference,
  ServerTls,
} from '../../config/index.ts'
import { authorityProblem, keyPairProblem } from '../model/credential.ts'
import type { CredentialKind, GatewayApiIndex } from './inputs.ts'

/** Why a reference cannot be used: a reason of the Gateway API, and a sentence. */
export interface RefProblem {
  readonly reason: string
  readonly message: string
}

/** Whose references they are. */
type Owner = Pick<GatewayApiResource<'Gateway' | 'ListenerSet'>, 'kind' | 'metadata'>

/** What a listener's TLS comes to. `tls` undefined: plain; null: nothing can be served. */
export interface ListenerTls {
  readonly tls: ServerTls | undefined | null
  readonly problem?: RefProblem
}

const TERMINATE_MODE = 'gateway.istio.io/tls-terminate-mode'
/** `auto-passthrough`: SNI names the cluster, as between networks. */
const LISTENER_PROTOCOL = 'gateway.istio.io/listener-protocol'
const CIPHER_SUITES = 'gateway.istio.io/tls-cipher-suites'
/** Envoy is given an RSA and an ECDSA certificate at most, as in Istio. */
const MAX_CERTIFICATES = 2
/** How names of credentials begin. */
const PREFIXES: Readonly<Record<CredentialKind, string>> = { ConfigMap: 'configmap', Secret: 'kubernetes-gateway' }

/** `gateway`: whose frontend validation applies to the listener, which a ListenerSet (`owner`) may have brought. */
export function listenerTls(
  owner: Owner,
  { spec }: GatewayApiResource<'Gateway'>,
  { port, protocol, tls }: GatewayApiListener,
  index: GatewayApiIndex,
): ListenerTls {
  if (protocol !== 'HTTPS' && protocol !== 'TLS') return { tls: undefined }
  // Without a tls section nothing is served; a ListenerSet may bring it.
  if (!tls) return { tls: null }
  const suites = tls.options?.[CIPHER_SUITES]
  const cipherSuites = suites ? { cipherSuites: suites.split(',').map((suite) => suite.trim()) } : {}
  if (tls.mode === 'Passthrough') {
    const auto = tls.options?.[LISTENER_PROTOCOL] === 'auto-passthrough' || isNetworkGateway(owner, port)
    return { tls: { mode: auto ? 'AUTO_PASSTHROUGH' : 'PASSTHROUGH', ...cipherSuites } }
  }
  const asked = tls.options?.[TERMINATE_MODE]
  if (asked === 'ISTIO_SIMPLE') return { tls: { mode: 'SIMPLE', credentialName: 'builtin://' } }
  if (asked === 'ISTIO_MUTUAL') return { tls: { mode: 'ISTIO_MUTUAL', ...cipherSuites } }
  const own = certificateNames(owner, tls.certificateRefs ?? [], index)
  if (!own.ok) return { tls: null, problem: own.problem }
  const mode = asked === 'MUTUAL' || asked === 'OPTIONAL_MUTUAL' ? asked : undefined
  const validation = tls.frontendValidation ?? frontendValidation(spec, port)
  if (!validation) return { tls: { mode: mode ?? 'SIMPLE', ...own.names, ...cipherSuites } }
  const authority = clientAuthority(owner, validation, index)
  if (!authority.ok) return { tls: null, problem: authority.problem }
  return {
    tls: {
      mode: mode ?? (validation.mode === 'AllowInsecureFallback' ? 'OPTIONAL_MUTUAL' : 'MUTUAL'),
      ...own.names,
      caCertCredentialName: authority.name,
      insecureSkipVerify: mode === undefined && validation.mode === 'AllowInsecureFallback',
      ...cipherSuites,
    },
  }
}

/** A Gateway labelled with its network passes on what other networks send to the port for them. */
function isNetworkGateway({ metadata: { labels } }: Owner, port: number): boolean {
  if (labels['topology.istio.io/network'] === undefined) return false
  return String(port) === (labels['networking.istio.io/gatewayPort'] ?? '15443')
}

function frontendValidation(
  { tls }: GatewayApiResource<'Gateway'>['spec'],
  port: number,
): ClientValidation | undefined {
  const { frontend } = tls ?? {}
  const ofPort = frontend?.perPort?.find((one) => one.port === port)
  return (ofPort ? ofPort.tls : frontend?.default)?.validation
}

type Names =
  | { readonly ok: true; readonly names: Pick<ServerTls, 'credentialName' | 'credentialNames'> }
  | { readonly ok: false; readonly problem: RefProblem }

/** The certificates that can be used; one that cannot is no harm while another can. */
function certificateNames(owner: Owner, references: readonly ObjectReference[], index: GatewayApiIndex): Names {
  if (references.length > MAX_CERTIFICATES) {
    const message = `TLS mode can only support up to ${MAX_CERTIFICATES} server certificates`
    return invalid('InvalidCertificateRef', message)
  }
  const names: string[] = []
  const problems: RefProblem[] = []
  for (const reference of references) {
    const found = keyPairName(owner, reference, index, 'certificateRef')
    if (found.ok) names.push(found.name)
    else problems.push(found.problem)
  }
  if (names.length === 0) {
    if (problems.length === 0) return invalid('InvalidCertificateRef', 'there is no certificateRef')
    return invalid(problems[0]!.reason, problems.map(({ message }) => message).join('; '))
  }
  return { ok: true, names: names.length === 1 ? { credentialName: names[0] } : { credentialNames: names } }
}

type Named = { readonly ok: true; readonly name: string } | { readonly ok: false; readonly problem: RefProblem }

const invalid = (reason: string, message: string): { ok: false; problem: RefProblem } => ({
  ok: false,
  problem: { reason, message },
})

/** A Secret with a certificate and its key. */
export function keyPairName(
  owner: Owner,
  reference: ObjectReference,
  index: GatewayApiIndex,
  field: 'certificateRef' | 'clientCertificateRef',
): Named {
  const { group = '', kind = 'Secret', name, namespace = owner.metadata.namespace } = reference
  const reason = field === 'certificateRef' ? 'InvalidCertificateRef' : 'InvalidClientCertificateRef'
  const what = field === 'certificateRef' ? 'certificate reference' : field
  const at = `invalid ${what} ${referenceText(reference)}`
  if (group !== '' || kind !== 'Secret') return invalid(reason, `${at}, only secret is allowed`)
  const object = index.credential('Secret', namespace, name)
  if (!object) return invalid(reason, `${at}, secret ${namespace}/${name} not found`)
  const problem = keyPairProblem(object)
  if (problem) return invalid(reason, `${at}, the certificate is malformed: ${problem}`)
  const from = { kind: owner.kind, namespace: owner.metadata.namespace }
  if (!index.mayRefer(from, { group, kind, namespace, name })) {
    return invalid('RefNotPermitted', notGranted(`${field} ${name}/${namespace}`, owner))
  }
  return { ok: true, name: `${PREFIXES.Secret}://${namespace}/${name}` }
}

/** A reference as it was written, for messages. */
function referenceText({ group = '', kind = '', name, namespace = '' }: ObjectReference): string {
  return `${group}/${kind}/${name}.${namespace}`
}

function notGranted(what: string, { metadata }: Owner): string {
  const who = `a Gateway in namespace ${JSON.stringify(metadata.namespace)}`
  return `${what} not accessible to ${who} (missing a ReferenceGrant?)`
}

function clientAuthority(owner: Owner, { caCertificateRefs }: ClientValidation, index: GatewayApiIndex): Named {
  const [reference] = caCertificateRefs
  // Envoy takes one bundle.
  if (!reference || caCertificateRefs.length > 1) {
    return invalid('InvalidCACertificateRef', 'only one caCertificateRef is supported')
  }
  const { group = '', kind = 'ConfigMap', name, namespace = owner.metadata.namespace } = reference
  const at = `invalid CA certificate reference ${referenceText(reference)}`
  if (group !== '' || (kind !== 'ConfigMap' && kind !== 'Secret')) {
    return invalid('InvalidCACertificateKind', `${at}, only secret and configmap are allowed`)
  }
  const object = index.credential(kind, namespace, name)
  const reason = 'InvalidCACertificateRef'
  if (!object) return invalid(reason, `${at}, ${kind.toLowerCase()} ${namespace}/${name} not found`)
  const problem = authorityProblem(object)
  if (problem) return invalid(reason, `${at}, the bundle is malformed: ${problem}`)
  const from = { kind: owner.kind, namespace: owner.metadata.namespace }
  if (!index.mayRefer(from, { group, kind, namespace, name })) {
    return invalid('RefNotPermitted', notGranted(`caCertificateRef ${namespace}/${name}`, owner))
  }
  return { ok: true, name: `${PREFIXES[kind]}://${namespace}/${name}-cacert` }
}
