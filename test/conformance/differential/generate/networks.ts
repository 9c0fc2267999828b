// MeshNetworks: who stands in which network, and what lies between them.
import type { Draw } from './draw.ts'

const GATEWAYS = [
  { address: '203.0.113.31', port: 15443 },
  { address: '203.0.113.32', port: 443, locality: 'r1/z1' },
  { registryServiceName: 'ingress.istio-system.svc.cluster.local', port: 15443 },
  { registryServiceName: 'missing.default.svc.cluster.local', port: 15443 },
  { address: '2001:db8::31', port: 15443 },
  { address: 'gateway.example.com', port: 15443 },
] as const

/** Networks n1 … n3 of which the pods' addresses are parts; names as in labels and metadata of proxies. */
export function meshNetworks(draw: Draw): object {
  const ranges = draw.some(
    ['10.1.0.0/24', '10.1.1.0/24', '10.1.2.0/23', '10.1.8.0/24', '192.0.2.0/24', 'fd00:1::/64'],
    1,
    4,
  )
  const names = draw.some(['n1', 'n2', 'n3'], 1, 3)
  return {
    networks: Object.fromEntries(
      names.map((name, i) => [
        name,
        {
          endpoints: [
            ...ranges.filter((_, at) => at % names.length === i).map((fromCidr) => ({ fromCidr })),
            ...(i === 0 && draw.chance(0.3) ? [{ fromRegistry: 'Kubernetes' }] : []),
          ],
          gateways: draw.maybe(0.85, () => draw.some(GATEWAYS, 1, 2)),
        },
      ]),
    ),
  }
}
