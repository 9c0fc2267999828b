// OCSP staples (RFC 6066 §8, RFC 6960): what a server shows of its certificate's standing. Read as far as it must be to
// know that the response is for this certificate, and until when it holds.

import { X509Certificate } from 'node:crypto'
import { ConfigError } from '../../../base/errors.ts'
import { type Element, elements } from './der.ts'

export interface OcspStaple {
  /** DER, sent as it is. */
  readonly response: Uint8Array
  /** Milliseconds since 1970. */
  readonly validFromMs: number
  /** Milliseconds since 1970; null = it does not say. */
  readonly expiresAtMs: number | null
}

const SUCCESSFUL = 0
const SEQUENCE = 0x30
const INTEGER = 0x02
const TIME = 0x18
const VERSION_OR_NEXT_UPDATE = 0xa0

/** Throws ConfigError for what is no good answer about the first certificate of `chain`. */
export function parseOcspStaple(response: Buffer, chain: string, path: string): OcspStaple {
  const [outer] = elements(response)
  const [status, wrapped] = elements(outer?.value ?? Buffer.alloc(0))
  if (status === undefined) throw new ConfigError(path, 'OCSP response is not DER')
  if (status.value[0] !== SUCCESSFUL) throw new ConfigError(path, 'OCSP response was unsuccessful')
  const [bytes] = elements(wrapped?.value ?? Buffer.alloc(0))
  const basic = elements(bytes?.value ?? Buffer.alloc(0))[1]
  const data = elements(elements(basic?.value ?? Buffer.alloc(0))[0]?.value ?? Buffer.alloc(0))[0]
  const single = singleResponse(data, path)
  const [certificate, , from, ...after] = elements(single.value)
  const serial = elements(certificate?.value ?? Buffer.alloc(0)).findLast(({ tag }) => tag === INTEGER)
  if (serial === undefined || !sameSerial(serial.value, chain))
    throw new ConfigError(path, 'OCSP response does not match its TLS certificate')
  const next = after.find(({ tag }) => tag === VERSION_OR_NEXT_UPDATE)
  const time = next === undefined ? undefined : elements(next.value).find(({ tag }) => tag === TIME)
  return {
    response: new Uint8Array(response),
    validFromMs: timeOf(from?.value ?? Buffer.alloc(0), path),
    expiresAtMs: time === undefined ? null : timeOf(time.value, path),
  }
}

/** ResponseData holds version?, responder, time and the list of responses. */
function singleResponse(data: Element | undefined, path: string): Element {
  const responses = elements(data?.value ?? Buffer.alloc(0)).findLast(({ tag }) => tag === SEQUENCE)
  const list = elements(responses?.value ?? Buffer.alloc(0))
  if (list.length !== 1) throw new ConfigError(path, 'OCSP Response must be for one certificate only')
  return list[0]!
}

function sameSerial(serial: Buffer, chain: string): boolean {
  const own = new X509Certificate(chain).serialNumber.replace(/^0+/, '').toLowerCase()
  return serial.toString('hex').replace(/^0+/, '') === own
}

/** GeneralizedTime: `20261128201132Z`. */
function timeOf(value: Buffer, path: string): number {
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(value.toString('latin1'))
  if (match === null) throw new ConfigError(path, `OCSP response has no time in '${value.toString('latin1')}'`)
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number)
  return Date.UTC(year!, month! - 1, day, hour, minute, second)
}

/** The TLS feature extension (RFC 7633) with status_request: the certificate may not be shown without a staple. */
export function mustStaple(certificate: X509Certificate): boolean {
  return certificate.raw.includes(MUST_STAPLE)
}

/** OID 1.3.6.1.5.5.7.1.24, OCTET STRING { SEQUENCE { INTEGER 5 } }. */
const MUST_STAPLE = Buffer.from('06082b060105050701180405300302 0105'.replace(' ', ''), 'hex')

export type OcspAction = 'not asked' | 'staple' | 'omit' | 'fail'

/** What becomes of a handshake, by Envoy's rules. */
export function ocspAction(
  asked: boolean,
  staple: OcspStaple | null,
  policy: 'LENIENT_STAPLING' | 'STRICT_STAPLING' | 'MUST_STAPLE',
  nowMs: number,
): OcspAction {
  if (!asked) return 'not asked'
  if (staple !== null && (staple.expiresAtMs === null || staple.expiresAtMs > nowMs)) return 'staple'
  if (policy === 'MUST_STAPLE') return 'fail'
  return policy === 'STRICT_STAPLING' && staple !== null ? 'fail' : 'omit'
}
