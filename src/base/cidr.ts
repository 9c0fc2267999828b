// IP addresses and ranges as 32-bit words, for matches on every connection or request. v4-mapped v6 addresses are v4.

import { isIP } from 'node:net'

/** An address: one word for v4, four for v6, most significant first. Plain data: structured clone carries it. */
export interface IpBits {
  readonly v6: boolean
  readonly words: readonly number[]
}

/** A range: the network address and the number of leading bits that count. */
export interface Cidr extends IpBits {
  readonly length: number
}

/** null when `text` is no IP address. A zone (`fe80::1%eth0`) is ignored. */
export function parseIp(text: string): IpBits | null {
  switch (isIP(text)) {
    case 4:
      return { v6: false, words: [parseV4(text)] }
    case 6:
      return parseV6(text)
    default:
      return null
  }
}

function parseV4(text: string): number {
  let value = 0
  let part = 0
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === 46) {
      value = value * 256 + part
      part = 0
    } else part = part * 10 + (c - 48)
  }
  return (value * 256 + part) >>> 0
}

function parseV6(text: string): IpBits {
  const zone = text.indexOf('%')
  let plain = zone < 0 ? text : text.slice(0, zone)
  if (plain.includes('.')) {
    // Embedded IPv4: its 32 bits as two groups.
    const lastColon = plain.lastIndexOf(':')
    const v4 = parseV4(plain.slice(lastColon + 1))
    plain = `${plain.slice(0, lastColon + 1)}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`
  }
  const [head = '', tail] = plain.split('::')
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'))
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  const words = [0, 2, 4, 6].map((i) => ((Number.parseInt(all[i]!, 16) << 16) | Number.parseInt(all[i + 1]!, 16)) >>> 0)
  const mapped = words[0] === 0 && words[1] === 0 && words[2] === 0xffff
  return mapped ? { v6: false, words: [words[3]!] } : { v6: true, words }
}

/** The range of `address` with `length` leading bits; null for a bad address or length. */
export function parseCidr(address: string, length: number): Cidr | null {
  const ip = parseIp(address)
  if (!ip || length < 0 || length > ip.words.length * 32) return null
  return { v6: ip.v6, length, words: ip.words.map((word, i) => (word & maskOf(length - i * 32)) >>> 0) }
}

/** The top `bits` bits of a word. */
function maskOf(bits: number): number {
  if (bits >= 32) return 0xffff_ffff
  return bits <= 0 ? 0 : (0xffff_ffff << (32 - bits)) >>> 0
}

export function cidrContains(range: Cidr, ip: IpBits): boolean {
  if (range.v6 !== ip.v6) return false
  for (let i = 0, bits = range.length; bits > 0; i++, bits -= 32) {
    if (((ip.words[i]! ^ range.words[i]!) & maskOf(bits)) !== 0) return false
  }
  return true
}

export function sameIp(a: IpBits, b: IpBits): boolean {
  return a.v6 === b.v6 && a.words.every((word, i) => word === b.words[i])
}

/** 127.0.0.0/8 or ::1. */
export function isLoopback(ip: IpBits): boolean {
  if (!ip.v6) return ip.words[0]! >>> 24 === 127
  return ip.words[0] === 0 && ip.words[1] === 0 && ip.words[2] === 0 && ip.words[3] === 1
}
