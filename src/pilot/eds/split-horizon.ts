// Endpoints of other networks: replaced by the gateways that lead there, which carry their weight.

import type { NetworkGateway, NetworkGateways } from '../model/network-gateways.ts'
import { type Endpoint, NO_LOCALITY } from '../model/service.ts'
import { topologyLabels } from '../registry/kube-endpoints.ts'
import type { AssignmentInputs, LocalityGroup } from './endpoints.ts'
import { MAX_WEIGHT, weightOf } from './locality.ts'

/** Gateways as endpoints, so that they are told apart from workloads. */
export type GatewayEndpoints = ReadonlySet<Endpoint>

/**
 * What a proxy can reach of each group. Endpoints in its own network stay; those behind a gateway count for it when they
 * accept mutual TLS, since the gateway finds them by the server name alone; the rest are left out.
 */
export function throughGateways(
  groups: readonly LocalityGroup[],
  networks: NetworkGateways,
  proxy: AssignmentInputs['proxy'],
  acceptsMutualTls: (endpoint: Endpoint) => boolean,
): { readonly groups: LocalityGroup[]; readonly gateways: GatewayEndpoints } {
  const gateways = new Set<Endpoint>()
  const out = groups.map((group) => {
    const weights = new Map<NetworkGateway, number>()
    const endpoints: Endpoint[] = []
    for (const endpoint of group.endpoints) {
      const weight = Math.min((endpoint.weight || 1) * networks.scale, MAX_WEIGHT)
      const all = networks.into(endpoint.network, endpoint.clusterId)
      // A proxy that does not say its network is taken to be in none that has gateways.
      const foreign =
        all.length > 0 && endpoint.network !== '' && (proxy.network === '' || proxy.network !== endpoint.network)
      if (!foreign) {
        endpoints.push(weight === (endpoint.weight || 1) ? endpoint : { ...endpoint, weight })
        continue
      }
      const reachable = all.filter((gateway) => reaches(proxy.ips, gateway.address))
      if (reachable.length === 0 || !acceptsMutualTls(endpoint)) continue
      const share = Math.floor(weight / reachable.length)
      for (const gateway of reachable) weights.set(gateway, (weights.get(gateway) ?? 0) + share)
    }
    for (const [gateway, weight] of [...weights].sort(([a], [b]) => (a.address < b.address ? -1 : 1))) {
      const endpoint = gatewayEndpoint(gateway, weight)
      gateways.add(endpoint)
      endpoints.push(endpoint)
    }
    return { ...group, endpoints, weight: weightOf(endpoints) }
  })
  return { groups: out, gateways }
}

/** IPv4-only and IPv6-only proxies reach gateways of their own family. */
function reaches(ips: readonly string[], address: string): boolean {
  const v6 = address.includes(':')
  return ips.some((ip) => ip.includes(':') === v6)
}

function gatewayEndpoint({ address, port, network, cluster }: NetworkGateway, weight: number): Endpoint {
  return {
    address,
    addresses: [address],
    portName: '',
    servicePort: 0,
    port,
    labels: topologyLabels({}, NO_LOCALITY, '', network, cluster),
    locality: NO_LOCALITY,
    health: 'UNKNOWN',
    serviceAccount: '',
    tlsMode: 'istio',
    workloadName: '',
    namespace: '',
    nodeName: '',
    network,
    weight: Math.min(Math.max(weight, 1), MAX_WEIGHT),
    hostName: '',
    subDomain: '',
    clusterId: cluster,
  }
}
