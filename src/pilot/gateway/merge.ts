// The servers of all Gateways that select one router, merged by the port they really listen on.
import type { Gateway, GatewayServer } from '../../config/index.ts'
import { GATEWAY_SERVICE } from '../gateway-api/names.ts'
import { compareText, hostSubsetOf } from '../model/host.ts'
import type { ProxyNode, ServiceInstance } from '../model/node.ts'
import { isHttp, type Protocol, parseProtocol } from '../model/protocol.ts'
import type { PushContext } from '../model/push-context.ts'

/** One server of one Gateway, on one port of the router. */
export interface MergedServer {
  readonly server: GatewayServer
  /** `namespace/name` of its Gateway: what VirtualServices name. */
  readonly gateway: string
  readonly protocol: Protocol
  /** Hosts with their namespace condition: `./x` resolved, none means any namespace. */
  readonly hosts: readonly ServerHost[]
  /** Hosts as one text each, `namespace/host` where only that namespace may bind. */
  readonly hostTexts: readonly string[]
  /** Names that TLS clients ask for; empty for any. */
  readonly sniHosts: readonly string[]
  /** Route configuration; empty for TCP. */
  readonly routeName: string
}

export interface ServerHost {
  /** `*` or the namespace of VirtualServices that may bind. */
  readonly namespace: string
  readonly host: string
}

/** Servers of one address, port and protocol. */
export interface MergedPort {
  readonly port: number
  /** Empty: every address. */
  readonly bind: string
  readonly protocol: Protocol
  readonly servers: MergedServer[]
}

export interface MergedGateways {
  readonly ports: readonly MergedPort[]
  readonly byRouteName: ReadonlyMap<string, readonly MergedServer[]>
  /** Some server passes TLS on to the cluster that its server name spells out. */
  readonly autoPassthrough: boolean
}

const memo = new WeakMap<ProxyNode, { readonly push: PushContext; readonly merged: MergedGateways }>()

/** The merged gateways of a router; computed once per push. */
export function mergedGateways(proxy: ProxyNode, push: PushContext): MergedGateways {
  const known = memo.get(proxy)
  if (known?.push === push) return known.merged
  const merged = merge(push.gatewaysFor(proxy), push.serviceInstances(proxy))
  memo.set(proxy, { push, merged })
  return merged
}

/** TLS that ends at the gateway, or passes through it. */
function isTlsServer(server: GatewayServer): boolean {
  return server.tls !== undefined && !isHttp(parseProtocol(server.port.protocol))
}

export function isPassthrough(server: GatewayServer): boolean {
  const mode = server.tls?.mode ?? 'PASSTHROUGH'
  return server.tls !== undefined && (mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH')
}

/** The gateway sees requests: plain HTTP, or HTTPS that ends here. */
export function isHttpServer(server: GatewayServer): boolean {
  const protocol = parseProtocol(server.port.protocol)
  return isHttp(protocol) || (protocol === 'HTTPS' && !isPassthrough(server))
}

/** Servers while Gateways still add theirs. */
class Merging {
  /** By port, protocol as written and address; in the order in which they came. */
  readonly ports = new Map<string, MergedPort>()
  readonly byRouteName = new Map<string, MergedServer[]>()
  autoPassthrough = false
  /** Which entry of `ports` holds a port's servers without TLS. */
  private readonly plain = new Map<number, MergedPort>()
  private readonly taken = new Set<number>()
  private readonly tlsHosts = new Map<number, Map<string, string>>()

  add(merged: MergedServer, port: number): void {
    const { server } = merged
    const bind = server.bind ?? ''
    if (server.tls) {
      // A server with a host that another has on the same address is left out whole.
      if (this.takesHosts(merged, port, bind)) return
      if (server.tls.mode === 'AUTO_PASSTHROUGH') this.autoPassthrough = true
    }
    const key = `${port}|${server.port.protocol}|${bind}`
    const current = this.plain.get(port)
    if (!this.taken.has(port)) {
      this.taken.add(port)
      this.start(key, merged, port, bind)
    } else if (!current) this.addBesideTls(key, merged, port, bind)
    else if (current.bind === bind) {
      // Only HTTP servers can share a port without TLS.
      const { protocol } = merged
      if (!isHttp(current.protocol) || !(isHttp(protocol) || protocol === current.protocol) || merged.routeName === '')
        return
      current.servers.push(merged)
      this.route(merged, false)
    } else if (this.ports.has(key)) {
      this.ports.get(key)!.servers.push(merged)
      this.route(merged, false)
    } else this.start(key, merged, port, bind)
  }

  private takesHosts({ hostTexts }: MergedServer, port: number, bind: string): boolean {
    let taken = this.tlsHosts.get(port)
    if (!taken) this.tlsHosts.set(port, (taken = new Map()))
    if (hostTexts.some((host) => taken.get(host) === bind)) return true
    for (const host of hostTexts) taken.set(host, bind)
    return false
  }

  private start(key: string, merged: MergedServer, port: number, bind: string): void {
    const entry: MergedPort = { port, bind, protocol: merged.protocol, servers: [merged] }
    if (!isTlsServer(merged.server)) this.plain.set(port, entry)
    if (isHttpServer(merged.server)) this.route(merged, true)
    this.ports.set(key, entry)
  }

  private addBesideTls(key: string, merged: MergedServer, port: number, bind: string): void {
    if (!isTlsServer(merged.server)) {
      this.start(key, merged, port, bind)
      return
    }
    if (isHttpServer(merged.server)) {
      if (merged.routeName === '' || this.byRouteName.has(merged.routeName)) return
      this.route(merged, true)
    }
    const entry = this.ports.get(key)
    if (entry) entry.servers.push(merged)
    else this.ports.set(key, { port, bind, protocol: merged.protocol, servers: [merged] })
  }

  private route(merged: MergedServer, anew: boolean): void {
    const list = anew ? undefined : this.byRouteName.get(merged.routeName)
    if (list) list.push(merged)
    else this.byRouteName.set(merged.routeName, [merged])
  }
}

/** Pure: gateways in precedence, and the services in front of the router (they say which port a server's means). */
function merge(gateways: readonly Gateway[], instances: readonly ServiceInstance[]): MergedGateways {
  const merging = new Merging()
  for (const gateway of gateways) {
    const services = servicesOf(gateway)
    const own = services ? instances.filter(({ service }) => services.includes(service.hostname)) : instances
    for (const server of gateway.spec.servers ?? []) {
      for (const port of listenPorts(server.port.number, own, services === null)) {
        merging.add(mergedServer(gateway, server, port), port)
      }
    }
  }
  const { ports, byRouteName, autoPassthrough } = merging
  return { ports: [...ports.values()], byRouteName, autoPassthrough }
}

/** A Service with this label does not translate ports. */
const NO_TRANSLATION = 'experimental.istio.io/disable-gateway-port-translation'

/** Gateways of the Gateway API name the Services they stand behind instead of selecting pods. */
function servicesOf(gateway: Gateway): readonly string[] | null {
  const services = gateway.metadata.annotations[GATEWAY_SERVICE]
  return services ? services.split(',') : null
}

/**
 * The router's own ports behind a server's port: the Service in front translates. Without one the port means itself,
 * unless the Gateway says which Services it has: then nothing leads there.
 */
function listenPorts(port: number, instances: readonly ServiceInstance[], selecting: boolean): readonly number[] {
  const found = new Set<number>()
  for (const instance of instances) {
    if (selecting && NO_TRANSLATION in instance.service.attributes.labels) continue
    if (instance.port.port !== port) continue
    // Of several Services before selected pods the first one translates.
    if (selecting) return [instance.targetPort]
    found.add(instance.targetPort)
  }
  if (found.size > 0) return [...found]
  return selecting ? [port] : []
}

const ANY_OF_ANY = '*/*'

function mergedServer(gateway: Gateway, server: GatewayServer, port: number): MergedServer {
  const { namespace, name } = gateway.metadata
  // As in istiod, whoever takes any host of any namespace takes nothing else by name.
  const texts = server.hosts.includes(ANY_OF_ANY) ? [ANY_OF_ANY] : server.hosts
  const hosts = texts.map((text) => serverHost(text, namespace))
  const names = [...new Set(hosts.map(({ host }) => host))].sort(compareText)
  return {
    server,
    gateway: `${namespace}/${name}`,
    protocol: parseProtocol(server.port.protocol),
    hosts,
    hostTexts: hosts.map((one) => (one.namespace === '*' ? one.host : `${one.namespace}/${one.host}`)),
    sniHosts: server.tls && !names.includes('*') ? names : [],
    routeName: routeNameOf(gateway, server, port),
  }
}

function serverHost(text: string, own: string): ServerHost {
  const slash = text.indexOf('/')
  if (slash < 0) return { namespace: '*', host: text }
  const namespace = text.slice(0, slash)
  return { namespace: namespace === '.' ? own : namespace, host: text.slice(slash + 1) }
}

/** `http.<target port>`, or one of its own for each HTTPS server; an address bound to is appended. */
function routeNameOf(gateway: Gateway, server: GatewayServer, port: number): string {
  const bind = server.bind ? `.${server.bind}` : ''
  if (isHttp(parseProtocol(server.port.protocol))) return `http.${port}${bind}`
  if (!isHttpServer(server)) return ''
  const { name, namespace } = gateway.metadata
  return `https.${server.port.number}.${server.port.name}.${name}.${namespace}${bind}`
}

/** Names that both a server and a VirtualService of `namespace` have: of two that overlap the narrower one. */
export function commonHosts(
  serverHosts: readonly ServerHost[],
  hosts: readonly string[],
  namespace: string,
): readonly string[] {
  const common = new Set<string>()
  for (const { namespace: only, host } of serverHosts) {
    if (only !== '*' && only !== namespace) continue
    for (const other of hosts) {
      if (hostSubsetOf(other, host)) common.add(other)
      else if (hostSubsetOf(host, other)) common.add(host)
    }
  }
  return [...common]
}
