// The virtual addresses under which one proxy knows a service.
import { hasIpv4, hasIpv6, type ProxyNode } from './node.ts'
import type { Service } from './service.ts'

/** What of a proxy decides the addresses that it sees. */
export type AddressFamilies = Pick<ProxyNode, 'ips' | 'metadata'>

/**
 * The addresses of a service for one proxy: a Kubernetes Service's in the families that the proxy has, a ServiceEntry's own,
 * else those allocated to it where the proxy answers DNS itself. Empty: none.
 */
export function addressesFor(service: Service, proxy: AddressFamilies): readonly string[] {
  const own = isKubernetes(service) ? service.addresses : []
  const wanted = own.length > 0 ? own : allocatedAddresses(service, proxy)
  const inFamily = wanted.filter((address) => (address.includes(':') ? hasIpv6(proxy) : hasIpv4(proxy)))
  if (inFamily.length > 0 || isKubernetes(service)) return inFamily
  return service.addresses
}

/**
 * The address that stands for the service where there must be one: the first in the proxy's families, else the service's
 * own whatever its family. Null: it has none.
 */
export function primaryAddress(service: Service, proxy: AddressFamilies): string | null {
  return addressesFor(service, proxy)[0] ?? service.addresses[0] ?? null
}

function allocatedAddresses({ autoAllocatedAddresses }: Service, { metadata }: AddressFamilies): readonly string[] {
  const capture = metadata.DNS_CAPTURE
  if (capture !== true && capture !== 'true' && capture !== '1') return []
  // IPv4 first.
  return [
    ...autoAllocatedAddresses.filter((address) => !address.includes(':')),
    ...autoAllocatedAddresses.filter((address) => address.includes(':')),
  ]
}

function isKubernetes({ attributes }: Service): boolean {
  return attributes.registry === 'Kubernetes'
}
