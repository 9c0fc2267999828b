// Who the client is: the trusted address out of X-Forwarded-For (envoy-contract §5.4).

import { networkInterfaces } from 'node:os'
import { cidrContains, parseIp } from '../../../base/cidr.ts'
import { ipAddress } from '../../network/address.ts'
import type { Address } from '../../network/connection.ts'
import type { HeaderMap } from '../header-map.ts'
import type { HcmConfig, IpDetectionData } from './config.ts'

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

/** Asks `extensions` in their order. The result is reused: read it before the next call. */
export function detectAddress(headers: HeaderMap, extensions: readonly IpDetectionData[]): DetectedAddress {
  detected.address = null
  detected.trusted = false
  detected.rejectStatus = 0
  for (let i = 0; i < extensions.length && detected.address === null && detected.rejectStatus === 0; i++) {
    const extension = extensions[i]!
    if (extension.kind === 'xff') {
      const found = addressFromXff(headers.getAll('x-forwarded-for'), extension.hops)
      detected.address = found?.address ?? null
      detected.trusted = found?.only ?? false
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
