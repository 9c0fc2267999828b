// Domains of virtual hosts: exact, then `*suffix` longest first, then `prefix*` longest first, then `*` (envoy-contract §7.1).

/** Finds the value of the most specific domain. A wildcard never stands for nothing. */
export class DomainIndex<T> {
  private readonly exact = new Map<string, T>()
  private readonly suffixes = new WildcardIndex<T>()
  private readonly prefixes = new WildcardIndex<T>()
  private any: T | null = null

  /** False when the domain is there already. */
  add(domain: string, value: T): boolean {
    const name = domain.toLowerCase()
    if (name === '*') {
      if (this.any !== null) return false
      this.any = value
      return true
    }
    if (name.startsWith('*')) return this.suffixes.add(name.slice(1), value)
    if (name.endsWith('*')) return this.prefixes.add(name.slice(0, -1), value)
    if (this.exact.has(name)) return false
    this.exact.set(name, value)
    return true
  }

  /** `host` as received, undefined = there is none; a port counts unless `ignorePort`. */
  find(host: string | undefined, ignorePort: boolean): T | null {
    if (this.exact.size === 0 && this.suffixes.empty && this.prefixes.empty) return this.any
    if (host === undefined) return null
    let name = host
    if (ignorePort) {
      const port = portColon(name)
      if (port >= 0) name = name.slice(0, port)
    }
    // Most clients send lower case: look first, fold when that fails.
    return this.exact.get(name) ?? this.findFolded(name.toLowerCase())
  }

  private findFolded(name: string): T | null {
    return this.exact.get(name) ?? this.suffixes.findSuffix(name) ?? this.prefixes.findPrefix(name) ?? this.any
  }
}

/** Where Envoy begins a port: at the last colon behind an IPv6 literal's brackets, whatever follows it; -1 = nowhere. */
function portColon(host: string): number {
  const colon = host.lastIndexOf(':')
  return colon > host.lastIndexOf(']') ? colon : -1
}

/** The fixed parts of wildcards by length, longest first. */
class WildcardIndex<T> {
  private readonly byLength: { readonly length: number; readonly values: Map<string, T> }[] = []

  get empty(): boolean {
    return this.byLength.length === 0
  }

  add(part: string, value: T): boolean {
    let bucket = this.byLength.find((entry) => entry.length === part.length)
    if (!bucket) {
      bucket = { length: part.length, values: new Map() }
      this.byLength.push(bucket)
      this.byLength.sort((a, b) => b.length - a.length)
    }
    if (bucket.values.has(part)) return false
    bucket.values.set(part, value)
    return true
  }

  findSuffix(name: string): T | undefined {
    for (let i = 0; i < this.byLength.length; i++) {
      const { length, values } = this.byLength[i]!
      if (name.length <= length) continue
      const found = values.get(name.slice(name.length - length))
      if (found !== undefined) return found
    }
    return undefined
  }

  findPrefix(name: string): T | undefined {
    for (let i = 0; i < this.byLength.length; i++) {
      const { length, values } = this.byLength[i]!
      if (name.length <= length) continue
      const found = values.get(name.slice(0, length))
      if (found !== undefined) return found
    }
    return undefined
  }
}
