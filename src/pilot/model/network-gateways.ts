// Gateways between networks: how workloads of one network are reached from another.
import { isIP } from 'node:net'
import type { KubeObject } from '../../cluster/index.ts'
import type { MeshNetworks } from '../../config/index.ts'
import { NETWORK_LABEL } from '../registry/network-lookup.ts'
import { compareText } from './host.ts'
import type { Service } from './service.ts'
import type { ServiceIndex } from './service-index.ts'

/** One address of a gateway into a network. */
export interface NetworkGateway {
  readonly network: string
  /** The cluster it stands in; empty when MeshNetworks names its address. */
  readonly cluster: string
  readonly address: string
  readonly port: number
}

/** Where the addresses of gateways come from. */
export interface NetworkSources {
  readonly meshNetworks: MeshNetworks
  readonly services: ServiceIndex
  readonly nodes: ReadonlyMap<string, KubeObject>
  readonly clusterId: string
  /** Addresses of gateways that are named by host, as DNS has them. */
  readonly resolved: ReadonlyMap<string, readonly string[]>
}

/** A gateway Service says its port with this label when it is not the usual one. */
const PORT_LABEL = 'networking.istio.io/gatewayPort'
const DEFAULT_PORT = 15443

/** Immutable. Null stands for a mesh of one network. */
export class NetworkGateways {
  /** Text of everything in it: equal texts, equal gateways. */
  readonly key: string
  /**
   * Factor for the weights of all endpoints: the least common multiple of the numbers of gateways, so that a weight can
   * be split among any of them without a rest.
   */
  readonly scale: number
  /** Sorted by address and port. */
  readonly all: readonly NetworkGateway[]
  private readonly byNetwork: ReadonlyMap<string, readonly NetworkGateway[]>
  private readonly byCluster: ReadonlyMap<string, readonly NetworkGateway[]>

  constructor(gateways: readonly NetworkGateway[]) {
    const sorted = unique(gateways).sort((a, b) => compareText(a.address, b.address) || a.port - b.port)
    this.all = sorted
    this.key = sorted.map(keyOf).join(' ')
    this.byNetwork = group(sorted, (g) => g.network)
    this.byCluster = group(sorted, (g) => `${g.network}|${g.cluster}`)
    this.scale = [...this.byNetwork.values(), ...this.byCluster.values()].reduce(
      (all, list) => lcm(all, list.length),
      1,
    )
  }

  /** Gateways into the network in the endpoint's own cluster, else all into the network. */
  into(network: string, cluster: string): readonly NetworkGateway[] {
    return this.byCluster.get(`${network}|${cluster}`) ?? this.byNetwork.get(network) ?? []
  }
}

/** Hosts of gateways that have no address of their own: DNS has to find it. */
export function gatewayHosts(sources: Omit<NetworkSources, 'resolved'>): string[] {
  const hosts = listGateways({ ...sources, resolved: new Map() }, true).map((g) => g.address)
  return [...new Set(hosts)].filter((address) => isIP(address) === 0).sort()
}

/** The gateways of a mesh; null when it has none. */
export function networkGateways(sources: NetworkSources): NetworkGateways | null {
  const found = listGateways(sources, false)
  return found.length > 0 ? new NetworkGateways(found) : null
}

function listGateways(sources: NetworkSources, unresolved: boolean): NetworkGateway[] {
  const { meshNetworks, clusterId } = sources
  const found: NetworkGateway[] = []
  const add = (gateway: NetworkGateway): void => {
    if (unresolved || isIP(gateway.address) !== 0) found.push(gateway)
    else for (const address of sources.resolved.get(gateway.address) ?? []) found.push({ ...gateway, address })
  }
  /** Full host name of a Service to what it is a gateway of. */
  const named = new Map<string, { network: string; port: number }[]>()
  for (const [network, { endpoints = [], gateways = [] }] of Object.entries(meshNetworks.networks ?? {})) {
    const here = endpoints.some(({ fromRegistry }) => fromRegistry === clusterId)
    for (const { address, registryServiceName, port } of gateways) {
      if (address !== undefined) add({ network, cluster: '', address, port })
      else if (registryServiceName !== undefined && here) {
        const list = named.get(registryServiceName)
        if (list) list.push({ network, port })
        else named.set(registryServiceName, [{ network, port }])
      }
    }
  }
  for (const service of sources.services.all) {
    const ports = gatewayPorts(service, named)
    if (ports.length === 0) continue
    for (const address of externalAddresses(service, sources.nodes)) {
      for (const { network, port } of ports) {
        const nodePort = service.attributes.external?.nodePorts[port]
        add({ network, cluster: clusterId, address, port: nodePort ?? port })
      }
    }
  }
  return found
}

/** What networks a Service leads into and at which of its ports: by its label, else by MeshNetworks. */
function gatewayPorts(
  service: Service,
  named: ReadonlyMap<string, readonly { network: string; port: number }[]>,
): readonly { network: string; port: number }[] {
  const { labels, registry } = service.attributes
  if (registry !== 'Kubernetes') return []
  const network = labels[NETWORK_LABEL]
  if (!network) return named.get(service.hostname) ?? []
  const port = Number(labels[PORT_LABEL] ?? DEFAULT_PORT) || DEFAULT_PORT
  return service.ports.some((p) => p.port === port) ? [{ network, port }] : []
}

function externalAddresses(service: Service, nodes: ReadonlyMap<string, KubeObject>): readonly string[] {
  const { external } = service.attributes
  if (!external) return []
  const { nodeSelector, addresses } = external
  if (!nodeSelector) return addresses
  const out: string[] = []
  for (const node of nodes.values()) {
    const labels = node.metadata.labels ?? {}
    if (Object.entries(nodeSelector).some(([key, value]) => labels[key] !== value)) continue
    const status = node.status as { addresses?: { type?: string; address?: string }[] } | undefined
    const address = status?.addresses?.find((a) => a.type === 'ExternalIP')?.address
    if (address) out.push(address)
  }
  return out
}

function keyOf({ network, cluster, address, port }: NetworkGateway): string {
  return `${network}|${cluster}|${address}|${port}`
}

function unique(gateways: readonly NetworkGateway[]): NetworkGateway[] {
  return [...new Map(gateways.map((gateway) => [keyOf(gateway), gateway])).values()]
}

function group(
  gateways: readonly NetworkGateway[],
  key: (gateway: NetworkGateway) => string,
): ReadonlyMap<string, readonly NetworkGateway[]> {
  const groups = new Map<string, NetworkGateway[]>()
  for (const gateway of gateways) {
    const list = groups.get(key(gateway))
    if (list) list.push(gateway)
    else groups.set(key(gateway), [gateway])
  }
  return groups
}

function lcm(a: number, b: number): number {
  let [x, y] = [a, b]
  while (y > 0) [x, y] = [y, x % y]
  return (a / x) * b
}
