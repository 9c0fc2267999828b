// otherName entries of a certificate's subject alternative names (RFC 5280 §4.2.1.6), which node:crypto does not give.

import { element } from './der.ts'

/** The object identifier of the subjectAltName extension, DER. */
const SUBJECT_ALT_NAME = Buffer.from([0x06, 0x03, 0x55, 0x1d, 0x11])
const OTHER_NAME = 0xa0
const BOOLEAN = 0x01
const OCTET_STRING = 0x04
const SEQUENCE = 0x30

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
