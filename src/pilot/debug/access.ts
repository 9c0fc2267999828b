// Who may read which debug page: istiod's rules (ENABLE_DEBUG_ENDPOINT_AUTH), one for the HTTP ports and for xDS.
import { parseSpiffeId } from '../../security/index.ts'

/** The namespaces whose proxies a caller may ask about: every one (null), or its own. */
export type Reach = string | null

/** Pages about one proxy, which workloads may read about the proxies of their own namespace. */
const PAGES_FOR_WORKLOADS: ReadonlySet<string> = new Set(['config_dump', 'ndsz', 'edsz'])

/** The namespace that identities prove; null: none of them is a workload's. */
export function provedNamespace(identities: readonly string[]): string | null {
  for (const identity of identities) {
    const parsed = parseSpiffeId(identity)
    if (parsed.ok) return parsed.value.namespace
  }
  return null
}

/** What a workload of `namespace` may ask about when the control plane lives in `systemNamespace`. */
export function reachOf(namespace: string, systemNamespace: string): Reach {
  return namespace === systemNamespace ? null : namespace
}

/** Whether a page (`syncz`, …) is for a caller of this reach. */
export function mayRead(page: string, reach: Reach): boolean {
  return reach === null || PAGES_FOR_WORKLOADS.has(page)
}
