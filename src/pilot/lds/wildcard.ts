// Addresses that listeners without one of their own stand on, in the families that a proxy has.
import type { AdditionalAddress } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { hasIpv4, hasIpv6, type ProxyNode } from '../model/node.ts'
import { addressOf } from '../xds/messages.ts'

const ANY = ['0.0.0.0', '::'] as const
const LOOPBACK = ['127.0.0.1', '::1'] as const

type Families = Pick<ProxyNode, 'ips'>

/** Every address of the host: IPv4's, or IPv6's for a proxy that has no other. */
export function wildcardOf(proxy: Families): string {
  return wildcardsOf(proxy)[0]!
}

/** Every address of the host in each family that the proxy has, IPv4 first. */
export function wildcardsOf(proxy: Families): readonly string[] {
  return inFamilies(ANY, proxy)
}

export function localhostsOf(proxy: Families): readonly string[] {
  return inFamilies(LOOPBACK, proxy)
}

function inFamilies([v4, v6]: readonly [string, string], proxy: Families): readonly string[] {
  if (!hasIpv6(proxy)) return [v4]
  return hasIpv4(proxy) ? [v4, v6] : [v6]
}

/** What a listener has beside its first address. */
export function additionalAddresses([, ...others]: readonly string[], port: number): AdditionalAddress[] {
  return others.map((address) => ({
    $typeName: 'envoy.config.listener.v3.AdditionalAddress',
    address: addressOf(address, port),
  }))
}
