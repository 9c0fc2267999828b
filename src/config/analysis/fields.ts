// Reading unknown objects without trusting their shape.

export type Fields = Readonly<Record<string, unknown>>

export function record(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

export function list(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map(record) : []
}

export function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** True when every label of the selector is there with its value. */
export function selects(selector: unknown, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(record(selector)).every(([key, value]) => labels[key] === value)
}

/** `a=b,c=d`, sorted, as Kubernetes prints selectors. */
export function selectorText(selector: unknown): string {
  return Object.entries(record(selector))
    .map(([key, value]) => `${key}=${String(value)}`)
    .sort()
    .join(',')
}

/** A wildcard host matches the hosts below it; both sides may have a wildcard. */
function hostMatches(pattern: string, host: string): boolean {
  if (pattern === '*' || pattern === host) return true
  if (pattern.startsWith('*')) return host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1
  return false
}

/** Whether some host fits both. */
export function hostsOverlap(a: string, b: string): boolean {
  return hostMatches(a, b) || hostMatches(b, a)
}

/** A short host of a rule in `namespace` as a cluster-wide name; wildcards and names with dots stay. */
export function fqdn(host: string, namespace: string): string {
  return host.includes('.') || host === '*' ? host : `${host}.${namespace}.svc.cluster.local`
}
