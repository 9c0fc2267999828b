// DER (X.690 §10), as far as certificates and OCSP responses are looked into here.

export interface Element {
  readonly tag: number
  readonly value: Buffer
  /** Offset of the next element. */
  readonly end: number
}

/** One DER element, or null where there is none that is whole. */
export function element(bytes: Buffer, at: number): Element | null {
  if (at + 2 > bytes.length) return null
  let length = bytes[at + 1]!
  let from = at + 2
  if (length >= 0x80) {
    const size = length & 0x7f
    if (size === 0 || size > 4 || from + size > bytes.length) return null
    length = bytes.readUIntBE(from, size)
    from += size
  }
  const end = from + length
  return end > bytes.length ? null : { tag: bytes[at]!, value: bytes.subarray(from, end), end }
}

/** The elements within `bytes`, up to the first that is not whole. */
export function elements(bytes: Buffer): Element[] {
  const found: Element[] = []
  for (let next = element(bytes, 0); next !== null; next = element(bytes, next.end)) found.push(next)
  return found
}
