// Turns decoded fields into a HeaderMap and checks the message rules of HTTP/2 (RFC 9113 §8.2, §8.3) on the way.

import { isAuthority, isToken } from '../h1/characters.ts'
import { HeaderMap } from '../header-map.ts'
import type { HeaderSink } from '../hpack/decoder.ts'
import { joinDuplicates, REQUEST_JOINED, RESPONSE_JOINED } from '../joined-headers.ts'
import { httpScheme } from '../scheme.ts'

export const BlockKind = { Request: 0, Response: 1, Trailers: 2 } as const
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind]

/**
 * What is wrong with a block; the first fault counts. Field: one that may not be; Malformed: what may not be together, or
 * is missing; TooLarge, TooMany: bytes and fields beyond the limits.
 */
export const BlockFault = { None: 0, Malformed: 1, TooLarge: 2, Underscore: 3, Field: 4, TooMany: 5 } as const
export type BlockFault = (typeof BlockFault)[keyof typeof BlockFault]

export interface BlockLimits {
  /** Sum of names and values. */
  readonly maxBytes: number
  readonly maxHeaders: number
  readonly underscores: 'ALLOW' | 'REJECT_REQUEST' | 'DROP_HEADER'
  /** RFC 8441. */
  readonly allowConnect: boolean
}

const NameClass = { Malformed: 0, Plain: 1, Underscore: 2, Cookie: 3, Te: 4, Host: 5, ContentLength: 6 } as const
type NameClass = (typeof NameClass)[keyof typeof NameClass]

/** §8.2.2: headers about the connection have no place in HTTP/2. */
const CONNECTION_SPECIFIC = ['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']

/** Names seen, each judged once. Bounded, because peers choose them. */
const MAX_NAMES = 4096
const classes = new Map<string, NameClass>([
  ['cookie', NameClass.Cookie],
  ['te', NameClass.Te],
  ['host', NameClass.Host],
  ['content-length', NameClass.ContentLength],
])
for (const name of CONNECTION_SPECIFIC) classes.set(name, NameClass.Malformed)

/** Lower-case tchar (RFC 9110 §5.6.2, RFC 9113 §8.2.1). */
const NAME = new Uint8Array(256)
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME[c.charCodeAt(0)] = 1

function classify(name: string): NameClass {
  const known = classes.get(name)
  if (known !== undefined) return known
  let found: NameClass = name === '' ? NameClass.Malformed : NameClass.Plain
  for (let i = 0; i < name.length && found !== NameClass.Malformed; i++) {
    const c = name.charCodeAt(i)
    if (NAME[c] !== 1) found = NameClass.Malformed
    else if (c === 95) found = NameClass.Underscore
  }
  if (classes.size < MAX_NAMES) classes.set(name, found)
  return found
}

/** No control bytes but HT, no space at either end (§8.2.1). */
function isFieldValue(value: string): boolean {
  const { length } = value
  for (let i = 0; i < length; i++) {
    const c = value.charCodeAt(i)
    if (c < 32 ? c !== 9 : c === 127) return false
  }
  if (length === 0) return true
  const first = value.charCodeAt(0)
  const last = value.charCodeAt(length - 1)
  return first !== 32 && first !== 9 && last !== 32 && last !== 9
}

/** §3.1 of RFC 3986. */
function isScheme(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i) | 32
    if (
      !(c >= 97 && c <= 122) &&
      (i === 0 || (!(c >= 48 && c <= 57) && text[i] !== '+' && text[i] !== '-' && text[i] !== '.'))
    )
      return false
  }
  return text !== ''
}

/** One per connection, used for one block at a time: begin, decode into it, finish, read the results. */
export class HeaderBlock implements HeaderSink {
  headers = new HeaderMap()
  fault: BlockFault = BlockFault.None
  /** Declared body length, or -1. */
  contentLength = -1
  /** Headers dropped for an underscore. */
  dropped = 0
  private readonly limits: BlockLimits
  private kind: BlockKind = BlockKind.Request
  /** Of names and values. */
  bytes = 0
  private count = 0
  /** Up to here entries of one header are joined. */
  private joinedTo = 2
  private regular = false
  private pathSeen = false
  private authoritySeen = false
  private host: string | null = null
  private cookie = ''
  /** A value that was refused or not looked at may be in the table: values from there are checked again. */
  private doubtful = false

  constructor(limits: BlockLimits) {
    this.limits = limits
  }

  begin(kind: BlockKind): void {
    this.kind = kind
    this.headers = new HeaderMap()
    this.fault = BlockFault.None
    this.contentLength = -1
    this.dropped = 0
    this.bytes = 0
    this.count = 0
    this.joinedTo = 2
    this.regular = false
    this.pathSeen = false
    this.authoritySeen = false
    this.host = null
    this.cookie = ''
  }

  onHeader(name: string, value: string, fresh: boolean): void {
    if (this.fault !== BlockFault.None) {
      // It may be in the table now, unchecked.
      if (fresh) this.doubtful = true
      return
    }
    if ((fresh || this.doubtful) && !isFieldValue(value)) {
      this.doubtful = true
      this.fault = BlockFault.Field
      return
    }
    this.bytes += name.length + value.length
    if (name.charCodeAt(0) === 58) {
      if (!this.pseudo(name, value)) this.fault = BlockFault.Field
      else this.countField()
      return
    }
    this.regular = true
    switch (classify(name)) {
      case NameClass.Plain:
        break
      case NameClass.Underscore:
        if (this.limits.underscores === 'REJECT_REQUEST') {
          this.fault = BlockFault.Underscore
          return
        }
        if (this.limits.underscores === 'DROP_HEADER') {
          // What is dropped does not count.
          this.dropped++
          this.bytes -= name.length + value.length
          return
        }
        break
      case NameClass.Cookie:
        // Crumbs become one header again for whoever speaks HTTP/1 (§8.2.3).
        this.cookie = this.cookie === '' ? value : `${this.cookie}; ${value}`
        this.countField()
        return
      case NameClass.Host:
        if (this.kind === BlockKind.Request) {
          if (!isHost(value)) {
            this.fault = BlockFault.Field
            return
          }
          this.host = this.host === null ? value : `${this.host},${value}`
          this.countField()
          return
        }
        break
      case NameClass.Te:
        if (value !== 'trailers') {
          this.fault = BlockFault.Field
          return
        }
        break
      case NameClass.ContentLength:
        if (!this.length(value)) {
          this.fault = BlockFault.Field
          return
        }
        break
      default:
        this.fault = BlockFault.Field
        return
    }
    this.headers.list.push(name, value)
    this.countField()
  }

  /** A field that may be is one too many all the same; one that may not be is told as that (Envoy). */
  private countField(): void {
    if (++this.count > this.limits.maxHeaders) this.joinSoFar()
    if (this.count > this.limits.maxHeaders || this.bytes > this.limits.maxBytes) {
      this.fault = this.bytes > this.limits.maxBytes ? BlockFault.TooLarge : BlockFault.TooMany
      this.doubtful = true
    }
  }

  /** Entries of one header that join count once; each entry is looked at once. */
  private joinSoFar(): void {
    const { headers } = this
    this.count -= joinDuplicates(headers, this.joined(), this.joinedTo)
    this.joinedTo = Math.max(2, headers.list.length)
  }

  /** After the last field: what must be there is there. */
  finish(): void {
    const { headers, kind } = this
    if (this.cookie !== '') headers.list.push('cookie', this.cookie)
    joinDuplicates(headers, this.joined(), this.joinedTo)
    if (this.fault !== BlockFault.None || kind === BlockKind.Trailers) return
    const complete = kind === BlockKind.Response ? headers.status >= 100 : this.isRequest()
    if (!complete) this.fault = BlockFault.Malformed
  }

  private joined(): ReadonlySet<string> {
    return this.kind === BlockKind.Request ? REQUEST_JOINED : RESPONSE_JOINED
  }

  private isRequest(): boolean {
    const { headers } = this
    // :authority wins over Host (§8.3.1), which then says nothing more.
    if (!this.authoritySeen && this.host !== null) {
      headers.authority = this.host
      this.authoritySeen = true
    }
    headers.hostSeen = this.authoritySeen
    if (headers.method === '') return false
    if (headers.method !== 'CONNECT') {
      if (headers.protocol !== '' || headers.scheme === '' || !this.pathSeen || !this.authoritySeen) return false
      // Other schemes have paths of their own (§8.3.1); what is to become of them is not this layer's matter.
      if (httpScheme(headers.scheme) === '') return true
      return headers.path.charCodeAt(0) === 47 || (headers.path === '*' && headers.method === 'OPTIONS')
    }
    if (headers.protocol === '') return headers.scheme === '' && !this.pathSeen && headers.authority !== ''
    return this.limits.allowConnect && headers.scheme !== '' && this.pathSeen && headers.authority !== ''
  }

  private pseudo(name: string, value: string): boolean {
    const { headers } = this
    if (this.regular || this.kind === BlockKind.Trailers) return false
    if (this.kind === BlockKind.Response) {
      if (name !== ':status' || headers.status !== 0 || value.length !== 3) return false
      for (let i = 0; i < 3; i++) {
        const digit = value.charCodeAt(i) - 48
        if (digit < 0 || digit > 9) return false
        headers.status = headers.status * 10 + digit
      }
      return true
    }
    switch (name) {
      case ':method':
        if (headers.method !== '' || !isToken(value)) return false
        headers.method = value
        return true
      case ':path':
        if (this.pathSeen || !isPath(value)) return false
        this.pathSeen = true
        headers.path = value
        return true
      case ':scheme':
        if (headers.scheme !== '' || !isScheme(value)) return false
        headers.scheme = value
        return true
      case ':authority':
        if (this.authoritySeen || !isHost(value)) return false
        this.authoritySeen = true
        headers.authority = value
        return true
      case ':protocol':
        if (!this.limits.allowConnect || headers.protocol !== '' || !isToken(value)) return false
        headers.protocol = value
        return true
      default:
        return false
    }
  }

  private length(value: string): boolean {
    if (value === '' || value.length > 15) return false
    let length = 0
    for (let i = 0; i < value.length; i++) {
      const digit = value.charCodeAt(i) - 48
      if (digit < 0 || digit > 9) return false
      length = length * 10 + digit
    }
    // As in HTTP/1, a second one is refused even where it agrees.
    if (this.contentLength >= 0) return false
    this.contentLength = length
    return true
  }
}

/** An authority without userinfo (§8.3.1). */
function isHost(value: string): boolean {
  return value !== '' && isAuthority(value) && !value.includes('@')
}

/** Visible characters, those beyond ASCII too. */
function isPath(value: string): boolean {
  if (value === '') return false
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i)
    if (c < 33 || c === 127) return false
  }
  return true
}
