// The names that generated resources share, few enough that they meet.
import type { Draw } from './draw.ts'

export const NAMESPACES = ['default', 'other', 'third', 'istio-system'] as const
const SERVICES = ['web', 'shop', 'db', 'cache', 'api'] as const
export const EXTERNAL_HOSTS = ['ext.example.com', 'www.example.com', 'db.example.org', 'api.test.io'] as const
const WILDCARDS = ['*.example.com', '*.com', '*.test.io', '*.default.svc.cluster.local', '*.local', '*'] as const
export const SUBSETS = ['v1', 'v2', 'v3'] as const
/** Ports of Services and of ServiceEntries alike, so that they conflict. */
export const PORTS = [80, 443, 8080, 9000, 9090, 7070, 3306, 27017, 6379, 15443] as const
export const LOCALITIES = ['r1/z1/s1', 'r1/z1', 'r1/z2', 'r2/z3', 'r2', 'r3/z4/s2'] as const
export const GATEWAYS = ['gw0', 'gw1', 'gw2'] as const

export const serviceName = (draw: Draw): string => draw.pick(SERVICES)
export const namespace = (draw: Draw): string => draw.pick(NAMESPACES)

/**
 * The full host of a Service. The discovery server of Istio's tests knows no domain for short names of the resources that
 * it starts with.
 */
export function serviceHost(draw: Draw): string {
  const name = serviceName(draw)
  if (draw.chance(0.03)) return `${name}.${namespace(draw)}`
  return `${name}.${draw.chance(0.6) ? 'default' : namespace(draw)}.svc.cluster.local`
}

/** A host that may be anybody's: a Service, a ServiceEntry, nobody. */
export function concreteHost(draw: Draw): string {
  const roll = draw.next()
  if (roll < 0.6) return serviceHost(draw)
  if (roll < 0.95) return draw.pick(EXTERNAL_HOSTS)
  return draw.pick(['missing.example.net', 'missing.default.svc.cluster.local'])
}

export function anyHost(draw: Draw): string {
  return draw.chance(0.2) ? draw.pick(WILDCARDS) : concreteHost(draw)
}

export function labels(draw: Draw): Record<string, string> {
  return draw.chance(0.7)
    ? { app: serviceName(draw) }
    : draw.pick<Record<string, string>>([
        { version: 'v1' },
        { app: 'client' },
        { app: 'none' },
        { app: 'web', version: 'v1' },
        { istio: 'ingressgateway' },
      ])
}

export const selector = (draw: Draw) => draw.maybe(0.5, () => ({ matchLabels: labels(draw) }))

/** What a policy holds for: workloads by labels, or now and then the gateway of a Kubernetes Gateway. */
export function attachment(draw: Draw): object {
  if (draw.chance(0.92)) return { selector: selector(draw) }
  const reference = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: draw.pick(['kgw', 'kgw2']) }
  return draw.chance(0.7) ? { targetRefs: [reference] } : { targetRef: reference }
}

export function exportTo(draw: Draw): string[] | undefined {
  return draw.maybe(0.25, () => draw.pick([['*'], ['.'], ['other'], ['default', 'third'], ['third']]))
}

/** A name with a few strings of HTTP. */
export const headerName = (draw: Draw): string => draw.pick(['x-user', 'x-b', 'end-user', 'cookie', 'X-Upper'])
export const path = (draw: Draw): string => draw.pick(['/', '/a', '/a/b', '/b/', '/api/v1', '/A'])
export const label = (draw: Draw): [string, string] =>
  draw.pick([
    ['app', 'client'],
    ['version', 'v1'],
    ['app', 'web'],
  ])

/** Addresses that istiod's allocator would have given: its discovery server alone gives none, and reads them. */
export function allocatedAddresses(hosts: readonly string[], index: number): object {
  return {
    addresses: hosts.flatMap((host, i) => [
      { value: `240.240.${index}.${i + 1}`, host },
      { value: `2001:2::a${index}:${i + 1}`, host },
    ]),
  }
}
