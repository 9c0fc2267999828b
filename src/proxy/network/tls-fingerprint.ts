// Fingerprints of TLS clients: what a client hello offers, in short. Envoy's two kinds, JA3 and JA4. Pure.

import { createHash } from 'node:crypto'
import { ByteReader } from './byte-reader.ts'

interface Offer {
  readonly legacyVersion: number
  readonly suites: readonly number[]
  /** In the order of the hello; GREASE values are left out everywhere (RFC 8701). */
  readonly extensions: ReadonlyMap<number, Buffer>
}

const SERVER_NAME = 0x0000
const SUPPORTED_GROUPS = 0x000a
const POINT_FORMATS = 0x000b
const SIGNATURE_ALGORITHMS = 0x000d
const ALPN = 0x0010
const SUPPORTED_VERSIONS = 0x002b

/** RFC 8701 §2: both bytes are the same and end in 0xa. */
function isGrease(value: number): boolean {
  return (value & 0x0f0f) === 0x0a0a && value >> 8 === (value & 0xff)
}

/** Two-byte numbers without GREASE; `from` skips a length. */
function numbers(bytes: Buffer | undefined, from: number): number[] {
  const found: number[] = []
  for (let at = from; bytes !== undefined && at + 1 < bytes.length; at += 2) {
    const value = bytes.readUInt16BE(at)
    if (!isGrease(value)) found.push(value)
  }
  return found
}

/** `body`: of a client hello that parseClientHello accepts. */
function readOffer(body: Buffer): Offer {
  const reader = new ByteReader(body)
  const legacyVersion = reader.uint(2)
  reader.skip(32)
  reader.skip(reader.uint(1))
  const suites = numbers(reader.take(reader.uint(2)) ?? undefined, 0)
  reader.skip(reader.uint(1))
  const extensions = new Map<number, Buffer>()
  const list = new ByteReader((reader.left === 0 ? null : reader.take(reader.uint(2))) ?? Buffer.alloc(0))
  while (list.left > 0 && !list.failed) {
    const type = list.uint(2)
    const data = list.take(list.uint(2))
    if (data !== null && !isGrease(type)) extensions.set(type, data)
  }
  return { legacyVersion, suites, extensions }
}

/** Version, suites, extensions, groups and point formats in decimal, hashed with MD5. */
export function ja3(body: Buffer): string {
  const { legacyVersion, suites, extensions } = readOffer(body)
  const groups = numbers(extensions.get(SUPPORTED_GROUPS), 2)
  const formats = [...(extensions.get(POINT_FORMATS)?.subarray(1) ?? [])]
  const parts = [[legacyVersion], suites, [...extensions.keys()], groups, formats]
  return createHash('md5')
    .update(parts.map((part) => part.join('-')).join(','))
    .digest('hex')
}

const VERSIONS: Readonly<Record<number, string>> = {
  772: '13',
  771: '12',
  770: '11',
  769: '10',
  768: 's3',
}

/** `t13d1516h2_8daaf6152771_e5627efa2ab1`: what is offered, hash of the suites, hash of extensions and signatures. */
export function ja4(body: Buffer): string {
  const { legacyVersion, suites, extensions } = readOffer(body)
  const version = Math.max(legacyVersion, ...numbers(extensions.get(SUPPORTED_VERSIONS), 1))
  const named = extensions.has(SERVER_NAME) ? 'd' : 'i'
  const head = `t${VERSIONS[version] ?? '00'}${named}${twoDigits(suites.length)}${twoDigits(extensions.size)}`
  const others = [...extensions.keys()].filter((type) => type !== SERVER_NAME && type !== ALPN)
  const signatures = numbers(extensions.get(SIGNATURE_ALGORITHMS), 2)
  const offered = hexList(others.sort(ascending))
  const tail = signatures.length > 0 ? `${offered}_${hexList(signatures)}` : offered
  return `${head}${firstProtocol(extensions.get(ALPN))}_${shortHash(hexList([...suites].sort(ascending)))}_${shortHash(tail)}`
}

const ascending = (a: number, b: number): number => a - b

function twoDigits(count: number): string {
  return String(Math.min(99, count)).padStart(2, '0')
}

function hexList(values: readonly number[]): string {
  return values.map((value) => value.toString(16).padStart(4, '0')).join(',')
}

function shortHash(text: string): string {
  return text === '' ? '0'.repeat(12) : createHash('sha256').update(text).digest('hex').slice(0, 12)
}

/** First and last character of the first protocol; of one that begins or ends with others, first and last hex digit. */
function firstProtocol(data: Buffer | undefined): string {
  const length = data?.[2] ?? 0
  const name = data?.subarray(3, 3 + length)
  if (name === undefined || name.length === 0) return '00'
  const ends = String.fromCharCode(name[0]!, name.at(-1)!)
  if (/^[0-9A-Za-z]{2}$/.test(ends)) return ends
  const hex = name.toString('hex')
  return `${hex[0]}${hex.at(-1)}`
}
