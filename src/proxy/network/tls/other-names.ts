// otherName entries of a certificate's subject alternative names (RFC 5280 §4.2.1.6), which node:crypto does not give.

/** The object identifier of the subjectAltName extension, DER. */
const SUBJECT_ALT_NAME = Buffer.from([0x06, 0x03, 0x55, 0x1d, 0x11])
const OTHER_NAME = 0xa0
const BOOLEAN = 0x01
const OCTET_STRING = 0x04
const SEQUENCE = 0x30

interface Element {
  readonly tag: number
  readonly value: Buffer
  /** Offset of the next element. */
  readonly end: number
}

/** One DER element, or null where there is none that is whole. */
function element(bytes: Buffer, at: number): Element | null {
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

export interface OtherName {
  /** `1.2.3.4` */
  readonly oid: string
  readonly value: string
}

/** All otherNames, in order. `der` is a certificate that OpenSSL has parsed. */
export function otherNames(der: Buffer): OtherName[] {
  const names: OtherName[] = []
  const extension = der.indexOf(SUBJECT_ALT_NAME)
  if (extension < 0) return names
  let field = element(der, extension + SUBJECT_ALT_NAME.length)
  if (field?.tag === BOOLEAN) field = element(der, field.end)
  const list = field?.tag === OCTET_STRING ? element(field.value, 0) : null
  if (list?.tag !== SEQUENCE) return names
  for (let name = element(list.value, 0); name !== null; name = element(list.value, name.end)) {
    if (name.tag !== OTHER_NAME) continue
    const type = element(name.value, 0)
    const wrapped = type === null ? null : element(name.value, type.end)
    const value = wrapped === null ? null : element(wrapped.value, 0)
    if (value !== null) names.push({ oid: oidText(type!.value), value: value.value.toString('utf8') })
  }
  return names
}

/** X.690 §8.19: base 128, the first two numbers in one. */
function oidText(bytes: Buffer): string {
  const numbers: number[] = []
  let number = 0
  for (const byte of bytes) {
    number = number * 128 + (byte & 0x7f)
    if (byte >= 0x80) continue
    if (numbers.length === 0) {
      const first = Math.min(2, Math.floor(number / 40))
      numbers.push(first, number - 40 * first)
    } else numbers.push(number)
    number = 0
  }
  return numbers.join('.')
}
