// Trust domain aliases: an identity written with one of the mesh's trust domains means the same in all of them.

/**
 * `td/ns/X/sa/Y` for every trust domain of the mesh, when `principal` names one of them; otherwise itself. Without any trust
 * domain each stays what it is.
 */
export function expandTrustDomains(principals: readonly string[], trustDomains: readonly string[]): string[] {
  if (trustDomains.length === 0) return [...principals]
  const expanded: string[] = []
  for (const principal of principals) {
    const parts = principal.split('/')
    const own = parts[0]!
    // Any trust domain, or no SPIFFE identity at all: nothing to expand.
    if (parts.length !== 5 || own === '*' || own === '') {
      expanded.push(principal)
      continue
    }
    if (own !== 'cluster.local' && !trustDomains.some((domain) => covers(own, domain))) {
      expanded.push(principal)
      continue
    }
    const rest = principal.slice(own.length)
    for (const domain of trustDomains) {
      const alias = own.startsWith('*') && covers(own, domain) ? principal : domain + rest
      if (!expanded.includes(alias)) expanded.push(alias)
    }
  }
  return expanded
}

/** Trust domains by themselves: one of the mesh's means all of them; others, and wildcards, stay what they are. */
export function expandDomains(values: readonly string[], trustDomains: readonly string[]): string[] {
  return [...new Set(values.flatMap((value) => (trustDomains.includes(value) ? trustDomains : [value])))]
}

function covers(pattern: string, domain: string): boolean {
  if (pattern.startsWith('*')) return domain.endsWith(pattern.slice(1))
  if (pattern.endsWith('*')) return domain.startsWith(pattern.slice(0, -1))
  return pattern === domain
}
