// Who the client is: the trusted address out of X-Forwarded-For (envoy-contract §5.4).

import { networkInterfaces } from 'node:os'
import { type Cidr, cidrContains, isLoopback, parseIp } from '../../../base/cidr.ts'
import { ipAddress } from '../../network/address.ts'
import type { Address, ConnectionInfo } from '../../network/connection.ts'
import type { HeaderMap } from '../header-map.ts'
import type { HcmConfig } from './config.ts'

export interface TrustedAddress {
  readonly address: Address
  /** XFF held nothing but this address. */
  readonly only: boolean
}

/** The entry `skip` places from the right of `xff`, or null when there is none or it is no IP address. */
export function addressFromXff(xff: string | undefined, skip: number): TrustedAddress | null {
  if (xff === undefined) return null
  let end = xff.length
  for (let i = 0; i < skip; i++) {
    end = xff.lastIndexOf(',', end - 1)
    if (end < 0) return null
  }
  const comma = end === 0 ? -1 : xff.lastIndexOf(',', end - 1)
  const text = xff.slice(comma + 1, end).trim()
  if (parseIp(text) === null) return null
  return { address: ipAddress(text, 0), only: comma < 0 && skip === 0 }
}

/** The last entry of `xff` that no range of `trusted` has, or null: every entry up to it must be an address. */
function addressBeforeTrusted(xff: string | undefined, trusted: readonly Cidr[]): TrustedAddress | null {
  if (xff === undefined) return null
  let end = xff.length
  for (;;) {
    const comma = end === 0 ? -1 : xff.lastIndexOf(',', end - 1)
    const text = xff.slice(comma + 1, end).trim()
    if (parseIp(text) === null) return null
    // The first of all is taken whoever it is.
    if (comma < 0 || !isIn(trusted, text)) return { address: ipAddress(text, 0), only: comma < 0 && end === xff.length }
    end = comma
  }
}

function isIn(ranges: readonly Cidr[], text: string): boolean {
  const ip = parseIp(text)
  return ip !== null && ranges.some((range) => cidrContains(range, ip))
}

/** What detectAddress found. */
export interface DetectedAddress {
  /** null = nothing: the peer's own. */
  address: Address | null
  /** It may make the request an internal one. */
  trusted: boolean
  /** Not 0: no address, and the request is answered so. */
  rejectStatus: number
}

const detected: DetectedAddress = { address: null, trusted: false, rejectStatus: 0 }

/**
 * Asks the extensions in their order; each may append the peer to X-Forwarded-For, which the next one then sees (Envoy).
 * The result is reused: read it before the next call.
 */
export function detectAddress(
  headers: HeaderMap,
  connection: ConnectionInfo,
  config: HcmConfig,
  ownAddress: string,
): DetectedAddress {
  const extensions = config.ipDetection
  detected.address = null
  detected.trusted = false
  detected.rejectStatus = 0
  for (let i = 0; i < extensions.length && detected.address === null && detected.rejectStatus === 0; i++) {
    const extension = extensions[i]!
    if (extension.kind === 'xff') {
      const { hops, trusted } = extension
      const xff = headers.getAll('x-forwarded-for')
      const stranger = trusted !== null && !isIn(trusted, connection.remoteAddress.ip)
      const found = stranger ? null : trusted === null ? addressFromXff(xff, hops) : addressBeforeTrusted(xff, trusted)
      detected.address = found?.address ?? null
      detected.trusted = found?.only ?? false
      // Who is no proxy that we know is a client, and is written down.
      if (extension.append || stranger) appendXff(headers, connection, config, ownAddress)
      continue
    }
    const text = headers.get(extension.header)
    if (text !== undefined && parseIp(text) !== null) {
      detected.address = ipAddress(text, 0)
      detected.trusted = extension.trusted
    } else detected.rejectStatus = extension.rejectStatus
  }
  return detected
}

/** Writes the peer down in X-Forwarded-For; one on loopback by our own address. */
export function appendXff(headers: HeaderMap, connection: ConnectionInfo, config: HcmConfig, ownAddress: string): void {
  const peer = connection.remoteAddress
  if (peer.pipe !== undefined) return
  const ip = parseIp(peer.ip)
  const shown = ip !== null && isLoopback(ip) ? ownAddress : peer.ip
  const text = config.ipv4MappedIpv6 && shown === peer.ip && !shown.includes(':') ? `::ffff:${shown}` : shown
  const existing = headers.getAll('x-forwarded-for')
  headers.set('x-forwarded-for', existing === undefined || existing === '' ? text : `${existing},${text}`)
}

/** True when internal_address_config covers the address. */
export function isInternal(config: HcmConfig['internalAddresses'], address: Address): boolean {
  if (!config) return false
  if (address.pipe !== undefined) return config.unixSockets
  const ip = parseIp(address.ip)
  if (!ip) return false
  for (let i = 0; i < config.ranges.length; i++) if (cidrContains(config.ranges[i]!, ip)) return true
  return false
}

/** The first IPv4 address of the machine that others could reach, as Envoy picks its own; loopback when there is none. */
export function localAddress(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    const found = addresses?.find((address) => address.family === 'IPv4' && !address.internal)
    if (found) return found.address
  }
  return '127.0.0.1'
}
