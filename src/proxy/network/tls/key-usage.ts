// The keyUsage extension of a certificate (RFC 5280 §4.2.1.3), which node:crypto does not give.

import { element } from './der.ts'

/** The object identifier of the extension, DER. */
const KEY_USAGE = Buffer.from([0x06, 0x03, 0x55, 0x1d, 0x0f])
const BOOLEAN = 0x01
const OCTET_STRING = 0x04
const BIT_STRING = 0x03
/** keyCertSign and cRLSign, in the first byte of the bits. */
const SIGNS = 0x04 | 0x02

/** May sign certificates or revocation lists; without the extension it may anything. `der`: OpenSSL has parsed it. */
export function signsOthers(der: Buffer): boolean {
  const extension = der.indexOf(KEY_USAGE)
  if (extension < 0) return true
  let field = element(der, extension + KEY_USAGE.length)
  if (field?.tag === BOOLEAN) field = element(der, field.end)
  const bits = field?.tag === OCTET_STRING ? element(field.value, 0) : null
  return bits?.tag === BIT_STRING && ((bits.value[1] ?? 0) & SIGNS) !== 0
}
