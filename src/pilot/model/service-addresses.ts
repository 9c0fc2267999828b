import type { ProxyNode } from './node.ts'
import type { Service } from './service.ts'

/**
 * The virtual addresses of a service for one proxy: a Kubernetes Service's in the families that the proxy has, a
 * ServiceEntry's own, else those allocated to it where the proxy answers DNS itself. Empty: none.
 */
export function addressesFor(service: Service, proxy: Pick<ProxyNode, 'ips' | 'metadata'>): readonly string[] {
  const inFamily = (address: string): boolean => {
    const v6 = address.includes(':')
    return proxy.ips.some((ip) => ip.includes(':') === v6)
  }
  if (service.addresses.length > 0) {
    return service.attributes.registry === 'Kubernetes' ? service.addresses.filter(inFamily) : service.addresses
  }
  const capture = proxy.metadata.DNS_CAPTURE
  return capture === true || capture === 'true' || capture === '1'
    ? service.autoAllocatedAddresses.filter(inFamily)
    : []
}
