import type { Store } from '../cluster/index.ts'
import { parseResource } from '../config/index.ts'
import { CLUSTER_DOMAIN } from './addresses.ts'
import type { ManifestObject, ManifestProblem } from './manifest.ts'
import type { Service } from './pod-types.ts'

/** Warns of VirtualService destinations that no Service and no ServiceEntry has: such routes answer 503. */
export function missingHosts(store: Store, applied: readonly ManifestObject[]): ManifestProblem[] {
  const problems: ManifestProblem[] = []
  for (const { object, origin } of applied) {
    const parsed = parseResource(object)
    if (!parsed.ok || parsed.value.kind !== 'VirtualService') continue
    const { spec, metadata } = parsed.value
    const routes = [...(spec.http ?? []), ...(spec.tcp ?? []), ...(spec.tls ?? [])]
    const hosts = new Set(routes.flatMap(({ route }) => (route ?? []).map(({ destination }) => destination.host)))
    for (const host of hosts) {
      if (hostExists(store, host, metadata.namespace)) continue
      const message = `VirtualService ${metadata.name}: destination host "${host}" is neither a Service nor a host of a ServiceEntry; requests for it will fail`
      problems.push({ ...origin, level: 'warning', message })
    }
  }
  return problems
}

/** Short names mean a Service of the resource's own namespace, as in Istio. */
function hostExists(store: Store, host: string, namespace: string): boolean {
  const full = host.includes('.') ? host : `${host}.${namespace}.svc.${CLUSTER_DOMAIN}`
  const named = (store.list('Service') as Service[]).some(
    ({ metadata }) => `${metadata.name}.${metadata.namespace}.svc.${CLUSTER_DOMAIN}` === full,
  )
  if (named) return true
  return store.list('ServiceEntry.networking.istio.io').some((entry) => {
    const hosts = (entry.spec as { hosts?: string[] }).hosts ?? []
    return hosts.some((h) => h === host || h === full || (h.startsWith('*.') && full.endsWith(h.slice(1))))
  })
}
