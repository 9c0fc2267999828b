// VirtualService delegation: a root's route replaced by the routes of the delegate it names.
import type { HttpMatchRequest, HttpRoute, StringMatch, VirtualService } from '../../config/index.ts'

/**
 * Replaces every delegating route by the delegate's routes, one level deep. Delegates themselves (no hosts) are
 * dropped from the result, as is a route whose delegate does not exist or asks for more than its root's match.
 */
export function mergeDelegates(list: readonly VirtualService[]): readonly VirtualService[] {
  const delegates = new Map<string, VirtualService>()
  let delegating = false
  for (const vs of list) {
    if (!vs.spec.hosts?.length) delegates.set(`${vs.metadata.namespace}/${vs.metadata.name}`, vs)
    else if (vs.spec.http?.some((h) => h.delegate)) delegating = true
  }
  if (delegates.size === 0 && !delegating) return list
  const out: VirtualService[] = []
  for (const vs of list) {
    if (!vs.spec.hosts?.length) continue
    if (!vs.spec.http?.some((h) => h.delegate)) {
      out.push(vs)
      continue
    }
    const http: HttpRoute[] = []
    for (const route of vs.spec.http) {
      if (!route.delegate) {
        http.push(route)
        continue
      }
      const key = `${route.delegate.namespace || vs.metadata.namespace}/${route.delegate.name ?? ''}`
      const delegate = delegates.get(key)
      for (const child of delegate?.spec.http ?? []) {
        const merged = mergeRoute(route, child)
        if (merged) http.push(merged)
      }
    }
    out.push({ ...vs, spec: { ...vs.spec, http } })
  }
  return out
}

function mergeRoute(root: HttpRoute, child: HttpRoute): HttpRoute | null {
  const match = mergeMatches(root.match ?? [], child.match ?? [])
  if (!match) return null
  const name = root.name && child.name ? `${root.name}-${child.name}` : child.name || root.name
  return {
    ...child,
    name,
    match: match.length > 0 ? match : undefined,
    rewrite: child.rewrite ?? root.rewrite,
    timeout: child.timeout ?? root.timeout,
    retries: child.retries ?? root.retries,
    fault: child.fault ?? root.fault,
    mirror: child.mirror ?? root.mirror,
    mirrors: child.mirrors ?? root.mirrors,
    mirrorPercentage: child.mirrorPercentage ?? root.mirrorPercentage,
    corsPolicy: child.corsPolicy ?? root.corsPolicy,
    headers: child.headers ?? root.headers,
  }
}

/** Every pair of root and child match, merged; null when no pair fits (the child then adds no route). */
function mergeMatches(
  root: readonly HttpMatchRequest[],
  child: readonly HttpMatchRequest[],
): readonly HttpMatchRequest[] | null {
  if (root.length === 0) return child
  if (child.length === 0) return root
  const merged: HttpMatchRequest[] = []
  for (const c of child) for (const r of root) if (!conflicts(r, c)) merged.push(mergeMatch(r, c))
  return merged.length > 0 ? merged : null
}

function mergeMatch(root: HttpMatchRequest, child: HttpMatchRequest): HttpMatchRequest {
  const name = root.name && child.name ? `${root.name}-${child.name}` : child.name || root.name
  return {
    ...root,
    ...child,
    name,
    headers: both(root.headers, child.headers),
    withoutHeaders: both(root.withoutHeaders, child.withoutHeaders),
    queryParams: both(root.queryParams, child.queryParams),
    sourceLabels: both(root.sourceLabels, child.sourceLabels),
    // Where a route applies is the root's to say.
    gateways: root.gateways,
  }
}

function both<T>(a: Readonly<Record<string, T>> | undefined, b: Readonly<Record<string, T>> | undefined) {
  return a || b ? { ...a, ...b } : undefined
}

/** The child's match is not a refinement of the root's. */
function conflicts(root: HttpMatchRequest, child: HttpMatchRequest): boolean {
  return (
    widens(root.uri, child.uri) ||
    widens(root.scheme, child.scheme) ||
    widens(root.method, child.method) ||
    widens(root.authority, child.authority) ||
    widensAny(root.headers, child.headers) ||
    widensAny(root.withoutHeaders, child.withoutHeaders) ||
    widensAny(root.queryParams, child.queryParams) ||
    (root.port !== undefined && child.port !== undefined && root.port !== child.port) ||
    (root.ignoreUriCase !== undefined &&
      child.ignoreUriCase !== undefined &&
      root.ignoreUriCase !== child.ignoreUriCase) ||
    Object.entries(root.sourceLabels ?? {}).some(
      ([k, v]) => child.sourceLabels?.[k] !== undefined && child.sourceLabels[k] !== v,
    ) ||
    (root.sourceNamespace !== undefined &&
      child.sourceNamespace !== undefined &&
      root.sourceNamespace !== child.sourceNamespace) ||
    (child.gateways !== undefined && child.gateways.length > 0)
  )
}

function widensAny(
  root: Readonly<Record<string, StringMatch>> | undefined,
  child: Readonly<Record<string, StringMatch>> | undefined,
): boolean {
  if (!root || !child) return false
  return Object.keys(root).some((key) => child[key] !== undefined && widens(root[key], child[key]))
}

function widens(root: StringMatch | undefined, child: StringMatch | undefined): boolean {
  if (!root || !child) return false
  if (root.exact !== undefined) return child.exact !== root.exact
  if (root.prefix !== undefined) {
    if (child.exact !== undefined) return !child.exact.startsWith(root.prefix)
    if (child.prefix !== undefined) return !child.prefix.startsWith(root.prefix)
    return true
  }
  // Two regular expressions cannot be compared: any other child match under a root regex is refused.
  if (root.regex !== undefined) return true
  return false
}
