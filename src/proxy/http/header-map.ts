// The header block of one request or response, or its trailers.
//
// Regular headers live in one flat array [name, value, name, value, …]: ten to twenty entries are found faster by a
// linear scan over interned names than by hashing, and order and duplicates stay as received. Names are lower case.
// Pseudo-headers are fields, because the connection manager, the router and the codecs read them on every request.

/** A header block. `method`…`protocol` belong to requests, `status` (0 = unset) to responses. */
export class HeaderMap {
  method = ''
  path = ''
  authority = ''
  scheme = ''
  /** `:protocol` of extended CONNECT (RFC 8441), else ''. */
  protocol = ''
  status = 0
  /** The request named its host, if only with an empty value. */
  hostSeen = false
  /** [name, value, …]; lower-case names. Mutate through the methods unless you own the block. */
  readonly list: string[] = []
  /**
   * How the peer spelled each name when it first came, by lower-case name; only when a stateful header formatter asked
   * for it. Whatever header has such a name leaves with that spelling.
   */
  spellings: Map<string, string> | null = null

  /** Number of regular headers. */
  get size(): number {
    return this.list.length >> 1
  }

  /** The first value of `name` (lower case; `:method` and friends too), or undefined. */
  get(name: string): string | undefined {
    if (name.charCodeAt(0) === 58) return this.getPseudo(name)
    const list = this.list
    for (let i = 0; i < list.length; i += 2) if (list[i] === name) return list[i + 1]
    return undefined
  }

  has(name: string): boolean {
    return this.get(name) !== undefined
  }

  /** All values of `name` joined by ',' as Envoy's header matchers see them, or undefined. */
  getAll(name: string): string | undefined {
    if (name.charCodeAt(0) === 58) return this.getPseudo(name)
    const list = this.list
    let found: string | undefined
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) found = found === undefined ? list[i + 1] : `${found},${list[i + 1]}`
    }
    return found
  }

  /** Appends an entry, keeping existing ones of the same name. */
  add(name: string, value: string): void {
    if (name.charCodeAt(0) === 58) this.setPseudo(name, value)
    else this.list.push(name, value)
  }

  /** Replaces the first entry of `name`, drops the others, or appends. */
  set(name: string, value: string): void {
    if (name.charCodeAt(0) === 58) {
      this.setPseudo(name, value)
      return
    }
    const list = this.list
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) {
        list[i + 1] = value
        this.removeFrom(name, i + 2)
        return
      }
    }
    list.push(name, value)
  }

  /** Joins `value` onto the existing value with ',' or appends (Envoy's appendCopy for inline headers). */
  append(name: string, value: string): void {
    const list = this.list
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) {
        list[i + 1] = `${list[i + 1]},${value}`
        return
      }
    }
    list.push(name, value)
  }

  /** Removes every entry of `name`; true when there was one. */
  remove(name: string): boolean {
    if (name.charCodeAt(0) === 58) {
      const there = this.getPseudo(name) !== undefined
      this.setPseudo(name, '')
      return there
    }
    return this.removeFrom(name, 0)
  }

  private removeFrom(name: string, from: number): boolean {
    const list = this.list
    let kept = from
    for (let i = from; i < list.length; i += 2) {
      if (list[i] === name) continue
      if (kept !== i) {
        list[kept] = list[i]!
        list[kept + 1] = list[i + 1]!
      }
      kept += 2
    }
    if (kept === list.length) return false
    // Not by `length = kept`, which is a call into V8.
    while (list.length > kept) list.pop()
    return true
  }

  private getPseudo(name: string): string | undefined {
    switch (name) {
      case ':method':
        return this.method || undefined
      case ':path':
        return this.path || undefined
      case ':authority':
        return this.authority !== '' || this.hostSeen ? this.authority : undefined
      case ':scheme':
        return this.scheme || undefined
      case ':protocol':
        return this.protocol || undefined
      case ':status':
        return this.status ? String(this.status) : undefined
      default:
        return undefined
    }
  }

  private setPseudo(name: string, value: string): void {
    switch (name) {
      case ':method':
        this.method = value
        break
      case ':path':
        this.path = value
        break
      case ':authority':
        this.authority = value
        break
      case ':scheme':
        this.scheme = value
        break
      case ':protocol':
        this.protocol = value
        break
      case ':status':
        this.status = Number(value) || 0
        break
    }
  }

  /** A deep copy, for retries and shadows. */
  clone(): HeaderMap {
    const copy = new HeaderMap()
    copy.method = this.method
    copy.path = this.path
    copy.authority = this.authority
    copy.scheme = this.scheme
    copy.protocol = this.protocol
    copy.status = this.status
    copy.hostSeen = this.hostSeen
    for (let i = 0; i < this.list.length; i++) copy.list.push(this.list[i]!)
    copy.spellings = this.spellings
    return copy
  }
}
