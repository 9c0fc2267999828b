// The servers of all Gateways that select one router, merged by the port they really listen on.
import type { Gateway, GatewayServer } from '../../config/index.ts'
import { GATEWAY_SERVICE } from '../gateway-api/names.ts'
import { hostSubsetOf } from '../model/host.ts'
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

/** All servers of one address and port. */
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
  const protocol = parseProtocol(server.port.protocol)
  return server.tls !== undefined && (protocol === 'HTTPS' || protocol === 'TLS')
}

export function isPassthrough(server: GatewayServer): boolean {
  const mode = server.tls?.mode ?? 'PASSTHROUGH'
  return server.tls !== undefined && (mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH')
}

/** The gateway sees requests: plain HTTP, or HTTPS that ends here. */
export function isHttpServer(server: GatewayServer): boolean {
  const protocol = parseProtocol(server.port.protocol)
  return isHttp(protocol) || (protocol === 'HTTPS' && server.tls !== undefined && !isPassthrough(server))
}

/** Pure: gateways in precedence, and the services in front of the router (they say which port a server's means). */
function merge(gateways: readonly Gateway[], instances: readonly ServiceInstance[]): MergedGateways {
  const ports = new Map<string, MergedPort>()
  const byRouteName = new Map<string, MergedServer[]>()
  const plain = new Map<number, MergedPort>()
  const numbers = new Set<number>()
  const sniTaken = new Map<number, Set<string>>()
  for (const gateway of gateways) {
    const services = servicesOf(gateway)
    const own = services ? instances.filter(({ service }) => services.includes(service.hostname)) : instances
    for (const server of gateway.spec.servers ?? []) {
      for (const port of listenPorts(server.port.number, own, services === null)) {
        const merged = mergedServer(gateway, server, port, sniTaken)
        if (!merged) continue
        const bind = server.bind ?? ''
        let target: MergedPort | undefined
        if (numbers.has(port)) {
          const current = plain.get(port)
          if (current && current.bind === bind) {
            // Only HTTP servers can share a plain port.
            if (isTlsServer(server) || !isHttp(merged.protocol) || !isHttp(current.protocol)) continue
            target = current
          } else if (!current && isHttpServer(server) && byRouteName.has(merged.routeName)) continue
        }
        numbers.add(port)
        const key = `${bind}_${port}`
        target ??= ports.get(key)
        if (!target) {
          target = { port, bind, protocol: merged.protocol, servers: [] }
          ports.set(key, target)
          if (!isTlsServer(server)) plain.set(port, target)
        }
        target.servers.push(merged)
        if (isHttpServer(server)) {
          const list = byRouteName.get(merged.routeName)
          if (list) list.push(merged)
          else byRouteName.set(merged.routeName, [merged])
        }
      }
    }
  }
  return { ports: [...ports.values()], byRouteName }
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
    if (instance.service.attributes.labels[NO_TRANSLATION] === 'true') continue
    if (instance.port.port === port) found.add(instance.targetPort)
  }
  if (found.size > 0) return [...found]
  return selecting ? [port] : []
}

/** Null: every name of a TLS server is taken on that port. */
function mergedServer(
  gateway: Gateway,
  server: GatewayServer,
  port: number,
  sniTaken: Map<number, Set<string>>,
): MergedServer | null {
  const { namespace, name } = gateway.metadata
  const hosts = server.hosts.map((text) => serverHost(text, namespace))
  let sniHosts: string[] = []
  if (isTlsServer(server)) {
    let taken = sniTaken.get(port)
    if (!taken) sniTaken.set(port, (taken = new Set()))
    const mine = `${server.bind ?? ''}|`
    const names = hosts.map(({ host }) => host)
    if (names.every((host) => taken.has(mine + host))) return null
    if (!isPassthrough(server)) {
      sniHosts = names.filter((host) => !taken.has(mine + host))
      for (const host of names) taken.add(mine + host)
    }
  }
  return {
    server,
    gateway: `${namespace}/${name}`,
    protocol: parseProtocol(server.port.protocol),
    hosts,
    sniHosts: sniHosts.includes('*') ? [] : sniHosts,
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
