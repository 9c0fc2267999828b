// Addresses that listeners without one of their own stand on, in the families that a proxy has.
import type { AdditionalAddress } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import type { ProxyNode } from '../model/node.ts'
import { addressOf } from '../xds/messages.ts'

const ANY = ['0.0.0.0', '::'] as const
const LOOPBACK = ['127.0.0.1', '::1'] as const

function onlyV6({ ips }: Pick<ProxyNode, 'ips'>): boolean {
  return ips.length > 0 && ips.every((ip) => ip.includes(':'))
}

/** Every address of the host: IPv4's, or IPv6's for a proxy that has no other. */
export function wildcardOf(proxy: Pick<ProxyNode, 'ips'>): string {
  return ANY[onlyV6(proxy) ? 1 : 0]
}

export function localhostOf(proxy: Pick<ProxyNode, 'ips'>): string {
  return LOOPBACK[onlyV6(proxy) ? 1 : 0]
}

/** The same address in the other family, for a proxy that has both. */
export function secondAddress(bind: string, port: number, { ips }: Pick<ProxyNode, 'ips'>): AdditionalAddress[] {
  const dual = ips.some((ip) => ip.includes(':')) && ips.some((ip) => !ip.includes(':'))
  const other = dual ? (bind === ANY[0] ? ANY[1] : bind === LOOPBACK[0] ? LOOPBACK[1] : null) : null
  if (other === null) return []
  return [{ $typeName: 'envoy.config.listener.v3.AdditionalAddress', address: addressOf(other, port) }]
}
