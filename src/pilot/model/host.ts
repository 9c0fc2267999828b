// Host names as Istio compares them: exact, or a wildcard in the first label (`*.example.com`, `*`).

/** True when every name `b` stands for is also named by `a` or the other way round (Istio's "matches"). */
export function hostMatches(a: string, b: string): boolean {
  const aWild = a.startsWith('*')
  const bWild = b.startsWith('*')
  if (aWild && bWild) {
    const aTail = a.slice(1)
    const bTail = b.slice(1)
    return aTail.length < bTail.length ? bTail.endsWith(aTail) : aTail.endsWith(bTail)
  }
  if (aWild) return b.endsWith(a.slice(1))
  if (bWild) return a.endsWith(b.slice(1))
  return a === b
}

/** True when `b` is `a` or a part of what the wildcard `a` stands for. */
export function hostSubsetOf(b: string, a: string): boolean {
  const aWild = a.startsWith('*')
  if (!aWild) return a === b
  const tail = a.slice(1)
  const bTail = b.startsWith('*') ? b.slice(1) : b
  return bTail.endsWith(tail)
}

/** Most specific first: exact names before wildcards, longer wildcards before shorter, then by text. */
export function compareHosts(a: string, b: string): number {
  const aWild = a.startsWith('*')
  const bWild = b.startsWith('*')
  if (aWild !== bWild) return aWild ? 1 : -1
  if (a.length !== b.length) return b.length - a.length
  return a < b ? -1 : a > b ? 1 : 0
}

/** The full name of a short one: no dot and no wildcard means a service of `namespace`. No name stays none. */
export function resolveHost(host: string, namespace: string, domain: string): string {
  if (host === '' || host.includes('.') || host.startsWith('*')) return host
  return `${host}.${namespace}.svc.${domain}`
}

/** `<name>.<namespace>.svc.<domain>`. */
export function kubeHostname(name: string, namespace: string, domain: string): string {
  return `${name}.${namespace}.svc.${domain}`
}

/** `labels` has every pair of `selector`. An empty selector selects all. */
export function labelsMatch(
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  if (!selector) return true
  for (const key in selector) if (labels[key] !== selector[key]) return false
  return true
}

/** Byte order, as Go sorts strings. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
