// envoy.type.matcher.v3.AddressMatcher → plain data, and what it says of an address.

import type { AddressMatcher } from '../../api/gen/envoy/type/matcher/v3/address_pb.js'
import { type Cidr, cidrContains, parseCidr, parseIp } from '../../base/cidr.ts'
import { ConfigError } from '../../base/errors.ts'

export interface AddressMatcherData {
  readonly ranges: readonly Cidr[]
  readonly invert: boolean
}

/** Throws ConfigError for a range that is none. */
export function parseAddressMatcher(message: AddressMatcher, path: string): AddressMatcherData {
  const ranges = message.ranges.map(({ addressPrefix, prefixLen }, i) => {
    const range = parseCidr(addressPrefix, prefixLen ?? 0)
    if (range === null) throw new ConfigError(`${path}.ranges[${i}]`, `malformed IP address: ${addressPrefix}`)
    return range
  })
  return { ranges, invert: message.invertMatch }
}

/** `ip` as text; what is no IP address matches nothing. */
export function matchesAddress({ ranges, invert }: AddressMatcherData, ip: string): boolean {
  const bits = parseIp(ip)
  return bits !== null && ranges.some((range) => cidrContains(range, bits)) !== invert
}
