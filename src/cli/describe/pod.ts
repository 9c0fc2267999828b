// The head of a pod's description, and how a Service leads to it.

import type { MeshObject } from '../access.ts'
import { type Container, containersOf, initContainersOf, items, labelsOf, spec, stateOf } from './objects.ts'

/** Names as they are printed: alone in the namespace that was asked about, else `name.namespace`. */
export type NameOf = (object: MeshObject) => string

const PROXY_UID = 1337
const PROXY = 'istio-proxy'
const REQUIREMENTS = 'https://istio.io/v1.32/docs/ops/deployment/requirements/'
const RESERVED = 'User ID (UID) 1337 is reserved for the sidecar proxy.'
const NAME_LABELS = ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app']
const REVISION_LABELS = ['service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version']

export function podText(pod: MeshObject, nameOf: NameOf, ignoreUnmeshed: boolean): string {
  const own = containersOf(pod).filter(({ name }) => name !== PROXY)
  let out = ''
  for (const { securityContext } of own) if (securityContext?.runAsUser === PROXY_UID) out += `WARNING: ${RESERVED}\n`
  out += `Pod: ${nameOf(pod)}\n   Pod Revision: ${revisionOf(pod)}\n`
  const ports = containersOf(pod).flatMap(portTexts)
  out += ports.length > 0 ? `   Pod Ports: ${ports.join(', ')}\n` : '   Pod does not expose ports\n'
  const { phase = 'Pending', containerStatuses = [], initContainerStatuses = [] } = stateOf(pod)
  if (phase !== 'Running') return `${out}   Pod is not Running (${phase})\n`
  for (const { name, ready } of containerStatuses) {
    if (!ready) out += `WARNING: Pod ${nameOf(pod)} Container ${name} NOT READY\n`
  }
  for (const { name, ready } of initContainerStatuses) {
    if (!ready) out += `WARNING: Pod ${nameOf(pod)} Init Container ${name} NOT READY\n`
  }
  if (ignoreUnmeshed) return out
  if (![...containersOf(pod), ...initContainersOf(pod)].some(({ name }) => name === PROXY)) {
    return `${out}WARNING: ${nameOf(pod)} is not part of mesh; no Istio sidecar\n`
  }
  const context = spec(pod).securityContext as Container['securityContext']
  if (context?.runAsUser === PROXY_UID) out += `   WARNING: ${RESERVED}\n`
  const labels = labelsOf(pod)
  const suggest = (what: string) =>
    `Suggestion: add required service ${what} label for Istio telemetry. See ${REQUIREMENTS}.\n`
  if (!NAME_LABELS.some((label) => label in labels)) out += suggest('name')
  if (!REVISION_LABELS.some((label) => label in labels)) out += suggest('revision')
  return out
}

/** The revision that injected the pod, as its annotations tell. */
function revisionOf({ metadata: { annotations = {} } }: MeshObject): string {
  const named = annotations['istio.io/rev']
  if (named !== undefined) return named
  try {
    const status = JSON.parse(annotations['sidecar.istio.io/status'] ?? '{}') as { readonly revision?: unknown } | null
    return typeof status?.revision === 'string' ? status.revision : ''
  } catch {
    return ''
  }
}

function portTexts({ name, ports = [] }: Container): string[] {
  return ports.map(({ containerPort, protocol = 'TCP' }) => {
    return `${containerPort}${protocol === 'TCP' ? '' : `/${protocol}`} (${name})`
  })
}

interface ServicePort {
  readonly name?: string
  readonly port: number
  readonly targetPort?: number | string
  readonly protocol?: string
  readonly appProtocol?: string
}

export function servicePorts(service: MeshObject): readonly ServicePort[] {
  return items<ServicePort>(spec(service).ports)
}

export function serviceText(service: MeshObject, pod: MeshObject, nameOf: NameOf): string {
  let out = `Service: ${nameOf(service)}\n`
  for (const port of servicePorts(service)) {
    if ((port.protocol ?? 'TCP') !== 'TCP') continue
    const target = targetPort(port, pod)
    out +=
      target === undefined
        ? `   no suitable port for manifest: ${pod.metadata.uid ?? ''}\n`
        : `   Port: ${port.name ?? ''} ${port.port}/${protocolOf(port)} targets pod port ${target}\n`
  }
  return out
}

/** Undefined: the pod has no port of that name. */
export function targetPort(
  { port, targetPort = port, protocol = 'TCP' }: ServicePort,
  pod: MeshObject,
): number | undefined {
  if (typeof targetPort === 'number') return targetPort
  const sidecars = initContainersOf(pod).filter(({ restartPolicy }) => restartPolicy === 'Always')
  const ports = [...containersOf(pod), ...sidecars].flatMap((container) => container.ports ?? [])
  return ports.find((one) => one.name === targetPort && (one.protocol ?? 'TCP') === protocol)?.containerPort
}

const PROTOCOLS: Readonly<Record<string, string>> = {
  grpc: 'GRPC',
  http: 'HTTP',
  http_proxy: 'HTTP_PROXY',
  http2: 'HTTP2',
  https: 'HTTPS',
  mongo: 'Mongo',
  mysql: 'MySQL',
  redis: 'Redis',
  tcp: 'TCP',
  tls: 'TLS',
  udp: 'UDP',
}
/** Protocols of Kubernetes' own, as `appProtocol` has them. */
const KUBERNETES_PROTOCOLS: Readonly<Record<string, string>> = {
  'kubernetes.io/h2c': 'HTTP2',
  'kubernetes.io/ws': 'HTTP',
  'kubernetes.io/wss': 'HTTPS',
}
/** Ports of servers that speak first. */
const TCP_PORTS = new Set([25, 53, 3306, 27017])

/** Istio's protocol selection: appProtocol, else the port's name up to its first dash. */
export function protocolOf({ name = '', port, protocol = 'TCP', appProtocol }: ServicePort): string {
  if (protocol === 'UDP') return 'UDP'
  if (name === '' && appProtocol === undefined) return 'auto-detect'
  const kubernetes = appProtocol === undefined ? undefined : KUBERNETES_PROTOCOLS[appProtocol]
  if (kubernetes) return kubernetes
  const word = (appProtocol ?? name).toLowerCase()
  if (word.startsWith('grpc-web')) return 'GRPC-Web'
  if (appProtocol === 'hbone') return 'HBONE'
  return PROTOCOLS[word.split('-')[0]!] ?? (TCP_PORTS.has(port) ? 'TCP' : 'UnsupportedProtocol')
}
