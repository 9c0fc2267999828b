// Services whose endpoints are seen by proxies of their own cluster only: MeshConfig.serviceSettings, and Istio's own idea.
import type { MeshConfig } from '../../config/index.ts'
import { compareHosts } from '../model/host.ts'
import type { PushContext } from '../model/push-context.ts'

/** Hosts and wildcards, the most specific first, with what is said of each. */
type Hosts = readonly (readonly [host: string, local: boolean])[]

const memo = new WeakMap<MeshConfig, Hosts>()

export function isClusterLocal(hostname: string, { mesh, domain }: Pick<PushContext, 'mesh' | 'domain'>): boolean {
  let hosts = memo.get(mesh)
  if (!hosts) memo.set(mesh, (hosts = hostsOf(mesh, domain)))
  return (
    hosts.find(([host]) => host === hostname || (host.startsWith('*') && hostname.endsWith(host.slice(1))))?.[1] ??
    false
  )
}

function hostsOf({ serviceSettings = [], defaultConfig }: MeshConfig, domain: string): Hosts {
  const discovery = defaultConfig.discoveryAddress.replace(/:\d+$/, '')
  const said = serviceSettings.flatMap(({ settings, hosts = [] }) =>
    hosts.map((host) => [host, settings?.clusterLocal === true] as const),
  )
  const others = said.filter(([, local]) => !local).map(([host]) => host)
  const usual = [
    `*.kube-system.svc.${domain}`,
    `kubernetes.default.svc.${domain}`,
    discovery.endsWith(domain) ? discovery : `${discovery}.${domain}`,
  ].filter((host) => !others.some((other) => other === host || (host.startsWith('*') && other.endsWith(host.slice(1)))))
  const all = new Map<string, boolean>(usual.map((host) => [host, true]))
  for (const [host, local] of said) all.set(host, local)
  return [...all].sort(([a], [b]) => compareHosts(a, b))
}
