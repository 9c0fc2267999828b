// `x describe`: what concerns one pod or service, in istioctl's words.

import type { MeshObject } from './access.ts'

/** Everything a description draws on. */
export interface DescribeInput {
  readonly pod: MeshObject | null
  readonly services: readonly MeshObject[]
  readonly destinationRules: readonly MeshObject[]
  readonly virtualServices: readonly MeshObject[]
  readonly peerAuthentications: readonly MeshObject[]
  readonly gateways: readonly MeshObject[]
  readonly authorizationPolicies: readonly MeshObject[]
  /** Address of the ingress gateway, or ''. */
  readonly ingressUrl: string
}

type Labels = Readonly<Record<string, string>>
type Spec = Readonly<Record<string, unknown>>

const ROOT_NAMESPACE = 'istio-system'
const RULE = '--------------------\n'

/** The text of `x describe pod`. */
export function describePod(input: DescribeInput): string {
  const pod = input.pod!
  let out = `Pod: ${qualified(pod)}\n`
  out += `   Pod Revision: ${pod.metadata.labels?.['istio.io/rev'] ?? 'default'}\n`
  out += `   Pod Ports: ${podPorts(pod)}\n`
  const notes = podNotes(pod)
  if (notes) out += notes
  const services = input.services.filter((service) => selects(service, labelsOf(pod)) && sameNamespace(service, pod))
  if (services.length === 0) out += `${RULE}No Services select this pod.\n`
  for (const service of services) out += RULE + describeServicePart(input, service, pod)
  out += RULE + peerAuthenticationText(input, pod) + authorizationText(input, pod)
  return out + exposedText(input, services)
}

/** The text of `x describe service`. */
export function describeService(input: DescribeInput, service: MeshObject, pods: readonly MeshObject[]): string {
  const pod =
    pods.find((candidate) => selects(service, labelsOf(candidate)) && sameNamespace(service, candidate)) ?? null
  let out = describeServicePart(input, service, pod)
  if (pod) out += RULE + peerAuthenticationText(input, pod)
  return out + exposedText(input, [service])
}

function spec(object: MeshObject): Spec {
  return (object.spec ?? {}) as Spec
}

function items<T = Spec>(value: unknown): readonly T[] {
  return Array.isArray(value) ? (value as T[]) : []
}

function labelsOf(object: MeshObject): Labels {
  return object.metadata.labels ?? {}
}

function namespaceOf(object: MeshObject): string {
  return object.metadata.namespace ?? 'default'
}

function sameNamespace(a: MeshObject, b: MeshObject): boolean {
  return namespaceOf(a) === namespaceOf(b)
}

/** `name`, or `name.namespace` outside of default. */
function qualified(object: MeshObject): string {
  const namespace = namespaceOf(object)
  return namespace === 'default' ? object.metadata.name : `${object.metadata.name}.${namespace}`
}

function matches(selector: unknown, labels: Labels): boolean {
  const wanted = Object.entries((selector ?? {}) as Labels)
  return wanted.every(([key, value]) => labels[key] === value)
}

function selects(service: MeshObject, labels: Labels): boolean {
  const selector = spec(service).selector
  return selector !== undefined && Object.keys(selector as Labels).length > 0 && matches(selector, labels)
}

function containers(
  pod: MeshObject,
): readonly { name: string; ports?: { containerPort: number; protocol?: string }[] }[] {
  return items(spec(pod).containers)
}

function podPorts(pod: MeshObject): string {
  const ports = containers(pod).flatMap((container) =>
    items<{ containerPort: number; protocol?: string }>(container.ports).map((port) => {
      const protocol = port.protocol && port.protocol !== 'TCP' ? `/${port.protocol}` : ''
      return `${port.containerPort}${protocol} (${container.name})`
    }),
  )
  return ports.join(', ')
}

/** What istioctl warns of: no sidecar, missing app and version labels. */
function podNotes(pod: MeshObject): string {
  const all = [...containers(pod), ...items<{ name: string }>(spec(pod).initContainers)]
  let out = ''
  if (!all.some((container) => container.name === 'istio-proxy'))
    out += `WARNING: ${qualified(pod)} is not part of mesh; no Istio sidecar\n`
  const labels = labelsOf(pod)
  if (!labels.app && !labels['app.kubernetes.io/name'])
    out += 'Suggestion: add "app" label to pod for Istio telemetry.\n'
  if (!labels.version && !labels['app.kubernetes.io/version'])
    out += 'Suggestion: add "version" label to pod for Istio telemetry.\n'
  return out
}

function describeServicePart(input: DescribeInput, service: MeshObject, pod: MeshObject | null): string {
  let out = `Service: ${qualified(service)}\n`
  for (const port of items<ServicePort>(spec(service).ports)) {
    const name = port.name ? `${port.name} ` : ''
    out += `   Port: ${name}${port.port}/${protocolOf(port)} targets pod port ${port.targetPort ?? port.port}\n`
  }
  const rules = input.destinationRules.filter((rule) => namesService(String(spec(rule).host), rule, service))
  for (const rule of rules) out += destinationRuleText(rule, pod)
  const inMesh = input.virtualServices.filter(
    (vs) => usesMeshGateway(vs) && hostsOf(vs).some((host) => namesService(host, vs, service)),
  )
  for (const vs of inMesh) out += virtualServiceText(vs, service)
  return out
}

interface ServicePort {
  readonly name?: string
  readonly port: number
  readonly targetPort?: number | string
  readonly protocol?: string
  readonly appProtocol?: string
}

const PROTOCOLS: Readonly<Record<string, string>> = {
  http: 'HTTP',
  http2: 'HTTP2',
  grpc: 'GRPC',
  'grpc-web': 'GRPCWeb',
  https: 'HTTPS',
  tcp: 'TCP',
  tls: 'TLS',
  mongo: 'Mongo',
  mysql: 'MySQL',
  redis: 'Redis',
  udp: 'UDP',
  'kubernetes.io/h2c': 'HTTP2',
  'kubernetes.io/ws': 'HTTP',
  'kubernetes.io/wss': 'HTTPS',
}

/** Istio's protocol selection: appProtocol, else the port name up to its first dash, else detected. */
function protocolOf(port: ServicePort): string {
  if (port.protocol === 'UDP') return 'UDP'
  const word = (port.appProtocol ?? port.name ?? '').toLowerCase()
  return PROTOCOLS[word] ?? (word.startsWith('grpc-web') ? 'GRPCWeb' : PROTOCOLS[word.split('-')[0]!]) ?? 'auto-detect'
}

/** Whether a host of a rule in its namespace means this service. */
function namesService(host: string, rule: MeshObject, service: MeshObject): boolean {
  const fqdn = `${service.metadata.name}.${namespaceOf(service)}.svc.cluster.local`
  const full = host.includes('.') ? host : `${host}.${namespaceOf(rule)}.svc.cluster.local`
  if (full.startsWith('*')) return fqdn.endsWith(full.slice(1))
  return full === fqdn || `${full}.svc.cluster.local` === fqdn || `${full}.cluster.local` === fqdn
}

interface Subset {
  readonly name: string
  readonly labels?: Labels
  readonly trafficPolicy?: unknown
}

function destinationRuleText(rule: MeshObject, pod: MeshObject | null): string {
  const { host, trafficPolicy } = spec(rule)
  let out = `DestinationRule: ${qualified(rule)} for "${host}"\n`
  const subsets = items<Subset>(spec(rule).subsets)
  if (pod && subsets.length > 0) {
    const matching = subsets.filter((subset) => matches(subset.labels, labelsOf(pod)))
    const others = subsets.filter((subset) => !matching.includes(subset)).map((subset) => subset.name)
    if (matching.length === 0) {
      out += `  WARNING POD DOES NOT MATCH ANY SUBSETS.  (Non matching subsets ${others.join(',')})\n`
    } else {
      out += `   Matching subsets: ${matching.map((subset) => subset.name).join(',')}\n`
      if (others.length > 0) out += `      (Non-matching subsets ${others.join(',')})\n`
    }
  }
  return out + trafficPolicyText(trafficPolicy as Spec | undefined)
}

function trafficPolicyText(policy: Spec | undefined): string {
  if (!policy || Object.keys(policy).length === 0) return '   No Traffic Policy\n'
  const tls = policy.tls as { mode?: string } | undefined
  if (tls) return `   Traffic Policy TLS Mode: ${tls.mode ?? 'DISABLE'}\n`
  const extra = Object.entries({
    connectionPool: 'connection pool',
    loadBalancer: 'load balancer',
    outlierDetection: 'outlier detection',
  })
  const words = extra.filter(([key]) => policy[key] !== undefined).map(([, word]) => word)
  return words.length > 0 ? `   ${words.join('/')}\n` : ''
}

function hostsOf(vs: MeshObject): readonly string[] {
  return items<string>(spec(vs).hosts)
}

function gatewaysOf(vs: MeshObject): readonly string[] {
  return items<string>(spec(vs).gateways)
}

function usesMeshGateway(vs: MeshObject): boolean {
  const gateways = gatewaysOf(vs)
  return gateways.length === 0 || gateways.includes('mesh')
}

interface HttpRoute {
  readonly match?: readonly { uri?: Readonly<Record<string, string>>; headers?: unknown; method?: unknown }[]
  readonly route?: readonly { destination?: { host?: string; subset?: string }; weight?: number }[]
  readonly redirect?: { uri?: string; authority?: string }
  readonly fault?: { delay?: unknown; abort?: unknown }
}

function virtualServiceText(vs: MeshObject, service: MeshObject): string {
  let out = `VirtualService: ${qualified(vs)}\n`
  const routes = items<HttpRoute>(spec(vs).http)
  const facts = routes
    .filter(
      (route) =>
        route.redirect ||
        items<{ destination?: { host?: string } }>(route.route).some((r) =>
          namesService(r.destination?.host ?? '', vs, service),
        ),
    )
    .flatMap((route) => routeFacts(route, vs, service))
  if (routes.length > 0 && facts.length === 0) out += `   ${routes.length} HTTP route(s)\n`
  for (const fact of facts) out += `   ${fact}\n`
  const tcp = items(spec(vs).tcp).length
  if (tcp > 0) out += `   ${tcp} TCP route(s)\n`
  const tls = items(spec(vs).tls).length
  if (tls > 0) out += `   ${tls} TLS route(s)\n`
  return out
}

function routeFacts(route: HttpRoute, vs: MeshObject, service: MeshObject): string[] {
  const facts: string[] = []
  const uris = items<NonNullable<HttpRoute['match']>[number]>(route.match).map(matchFact).filter(Boolean)
  if (uris.length > 0) facts.push(`Match: ${uris.join(', ')}`)
  for (const { destination, weight } of items<NonNullable<HttpRoute['route']>[number]>(route.route)) {
    if (!namesService(destination?.host ?? '', vs, service)) continue
    if (weight !== undefined && weight > 0 && weight < 100)
      facts.push(`Weight ${weight}%${destination?.subset ? ` to subset ${destination.subset}` : ''}`)
    else if (destination?.subset) facts.push(`Route to host "${destination.host}" with subset ${destination.subset}`)
  }
  if (route.fault?.delay) facts.push('Fault injection delay')
  if (route.fault?.abort) facts.push('Fault injection abort')
  return facts
}

function matchFact(match: NonNullable<HttpRoute['match']>[number]): string {
  const uri = match.uri
  if (uri?.exact !== undefined) return uri.exact
  if (uri?.prefix !== undefined) return `${uri.prefix}*`
  if (uri?.regex !== undefined) return `~${uri.regex}`
  return match.headers || match.method ? 'when headers are matched' : ''
}

const STRENGTH = ['PERMISSIVE', 'STRICT', 'DISABLE']

interface PeerAuthenticationSpec {
  readonly selector?: { matchLabels?: Labels }
  readonly mtls?: { mode?: string }
}

/** Mesh, then namespace, then workload: the most specific mode that is set. */
function peerAuthenticationText(input: DescribeInput, pod: MeshObject): string {
  const applied: MeshObject[] = []
  let mode = 'PERMISSIVE'
  const take = (policy: MeshObject | undefined) => {
    if (!policy) return
    applied.push(policy)
    const own = (spec(policy) as PeerAuthenticationSpec).mtls?.mode
    if (own && STRENGTH.includes(own)) mode = own
  }
  const wide = (policy: MeshObject) => !(spec(policy) as PeerAuthenticationSpec).selector?.matchLabels
  take(input.peerAuthentications.find((p) => namespaceOf(p) === ROOT_NAMESPACE && wide(p)))
  if (namespaceOf(pod) !== ROOT_NAMESPACE) take(input.peerAuthentications.find((p) => sameNamespace(p, pod) && wide(p)))
  take(
    input.peerAuthentications.find(
      (p) =>
        sameNamespace(p, pod) &&
        !wide(p) &&
        matches((spec(p) as PeerAuthenticationSpec).selector?.matchLabels, labelsOf(pod)),
    ),
  )
  let out = `Effective PeerAuthentication:\n   Workload mTLS mode: ${mode}\n`
  if (applied.length > 0) {
    const names = applied.map((policy) => `${policy.metadata.name}.${namespaceOf(policy)}`)
    out += `   Applied PeerAuthentication:\n      ${names.join(', ')}\n`
  }
  return out
}

function authorizationText(input: DescribeInput, pod: MeshObject): string {
  const names = input.authorizationPolicies
    .filter((policy) => namespaceOf(policy) === ROOT_NAMESPACE || sameNamespace(policy, pod))
    .filter((policy) => matches((spec(policy) as PeerAuthenticationSpec).selector?.matchLabels, labelsOf(pod)))
    .map((policy) => `ns[${namespaceOf(policy)}]-policy[${policy.metadata.name}]`)
  return names.length > 0 ? `RBAC policies: ${names.join(', ')}\n` : ''
}

/** VirtualServices that bring the ingress gateway's traffic to these services. */
function exposedText(input: DescribeInput, services: readonly MeshObject[]): string {
  let out = ''
  for (const service of services) {
    for (const vs of input.virtualServices) {
      const bound = gatewaysOf(vs).filter((name) => name !== 'mesh')
      if (bound.length === 0 || !bound.some((name) => gatewayExists(input, name, vs))) continue
      const routes = items<HttpRoute>(spec(vs).http)
      const reaches = routes.some((route) =>
        items<{ destination?: { host?: string } }>(route.route).some((r) =>
          namesService(r.destination?.host ?? '', vs, service),
        ),
      )
      if (reaches)
        out += `Exposed on Ingress Gateway ${input.ingressUrl || '(no address)'}\n${virtualServiceText(vs, service)}`
    }
  }
  return out === '' ? '' : `${RULE}${out}`
}

function gatewayExists(input: DescribeInput, name: string, vs: MeshObject): boolean {
  const [namespace, short] = name.includes('/') ? (name.split('/', 2) as [string, string]) : [namespaceOf(vs), name]
  return input.gateways.some((gateway) => gateway.metadata.name === short && namespaceOf(gateway) === namespace)
}
