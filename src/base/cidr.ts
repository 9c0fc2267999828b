// IP addresses and prefixes as numbers, for longest-prefix decisions.

import { isIPv4, isIPv6 } from 'node:net'

/** An address: its family and its bits as 32-bit words, most significant first (one word for IPv4, four for IPv6). */
export interface IpBits {
  readonly v6: boolean
  readonly words: readonly number[]
}

/** A prefix. `length` is at most 32 or 128; bits beyond it are zero. */
export interface Cidr extends IpBits {
  readonly length: number
}

/** null for anything that is no address (brackets and zones are not accepted). */
export function parseIp(text: string): IpBits | null {
  if (isIPv4(text)) return { v6: false, words: [ipv4Word(text)] }
  if (!isIPv6(text) || text.includes('%')) return null
  const tail = text.lastIndexOf(':') + 1
  const embedded = isIPv4(text.slice(tail)) ? ipv4Word(text.slice(tail)) : null
  const full =
    embedded === null
      ? text
      : `${text.slice(0, tail)}${(embedded >>> 16).toString(16)}:${(embedded & 0xffff).toString(16)}`
  const [head = '', rest] = full.split('::')
  const left = groups(head)
  const right = rest === undefined ? [] : groups(rest)
  const all = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right]
  const words: number[] = []
  for (let i = 0; i < 8; i += 2) words.push(((all[i]! << 16) | all[i + 1]!) >>> 0)
  return { v6: true, words }
}

function ipv4Word(text: string): number {
  const [a, b, c, d] = text.split('.').map(Number)
  return ((a! << 24) | (b! << 16) | (c! << 8) | d!) >>> 0
}

function groups(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16))
}

/** null when `text` is no address or `length` is out of range. Bits beyond `length` are cleared. */
export function parseCidr(text: string, length: number): Cidr | null {
  const ip = parseIp(text)
  if (ip === null || length < 0 || length > (ip.v6 ? 128 : 32)) return null
  return { v6: ip.v6, length, words: ip.words.map((word, i) => (word & wordMask(length - 32 * i)) >>> 0) }
}

export function cidrContains(cidr: Cidr, ip: IpBits): boolean {
  if (cidr.v6 !== ip.v6) return false
  for (let i = 0, left = cidr.length; left > 0; i++, left -= 32) {
    if (((cidr.words[i]! ^ ip.words[i]!) & wordMask(left)) !== 0) return false
  }
  return true
}

function wordMask(bits: number): number {
  return bits >= 32 ? -1 : bits <= 0 ? 0 : -1 << (32 - bits)
}

/** 127.0.0.0/8 and ::1. */
export function isLoopback(ip: IpBits): boolean {
  if (!ip.v6) return ip.words[0]! >>> 24 === 127
  return ip.words[0] === 0 && ip.words[1] === 0 && ip.words[2] === 0 && ip.words[3] === 1
}

export function sameIp(a: IpBits, b: IpBits): boolean {
  return a.v6 === b.v6 && a.words.every((word, i) => word === b.words[i])
}
