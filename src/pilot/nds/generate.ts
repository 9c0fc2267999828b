// NDS: the names that the agent's DNS proxy answers, with their addresses.
import { isIP } from 'node:net'
import { create } from '@bufbuild/protobuf'
import { type NameTable, NameTable_NameInfoSchema, NameTableSchema } from '../../api/gen/istio/nds_pb.js'
import { hasIpv4, type ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { type Endpoint, type Service, serviceKey } from '../model/service.ts'
import { addressesFor } from '../model/service-addresses.ts'

export const NDS_TYPE = 'type.googleapis.com/istio.networking.nds.v1.NameTable'

/**
 * Every name a sidecar may look up; other proxies ask other DNS. Wildcard hosts are not names; services without any address
 * are left to other DNS too.
 */
export function generateNameTable(proxy: ProxyNode, push: PushContext): NameTable {
  const table: NameTable['table'] = {}
  if (proxy.type === 'sidecar') {
    for (const listener of push.sidecarScope(proxy).egressListeners) {
      for (const service of listener.services) addService(table, service, proxy, push)
    }
  }
  return create(NameTableSchema, { table })
}

function addService(table: NameTable['table'], service: Service, proxy: ProxyNode, push: PushContext): void {
  const own = addressesFor(service, proxy)
  const ips =
    own.length > 0 ? own.filter((address) => isIP(address) !== 0) : headlessAddresses(table, service, proxy, push)
  if (ips.length === 0) return
  const { registry, namespace, name } = service.attributes
  const known = table[service.hostname]
  const kubernetes = registry === 'Kubernetes'
  if (!known || (kubernetes && known.registry !== registry)) {
    table[service.hostname] = create(NameTable_NameInfoSchema, {
      ips: [...ips],
      registry,
      shortname: kubernetes ? name : '',
      namespace: kubernetes ? namespace : '',
    })
  } else if (!kubernetes && known.registry !== 'Kubernetes') known.ips.push(...ips)
}

/** Whatever is behind a headless Service and ready; pods that have names get them, `<hostname>.<subdomain>.<rest>`. */
function headlessAddresses(
  table: NameTable['table'],
  service: Service,
  proxy: ProxyNode,
  push: PushContext,
): readonly string[] {
  const port = service.ports[0]
  if (service.resolution !== 'Passthrough' || !port) return []
  const { registry, namespace, publishNotReadyAddresses } = service.attributes
  // As in istiod, which takes a Service without an address for one with the address 0.0.0.0.
  if (registry === 'Kubernetes' && !hasIpv4(proxy)) return []
  const ips: string[] = []
  const pods = new Map<string, string[]>()
  for (const endpoint of endpointsAt(service, port.port, push)) {
    if (endpoint.addresses.some((address) => isIP(address) === 0)) continue
    if (!publishNotReadyAddresses && endpoint.health !== 'HEALTHY') continue
    if (proxy.network !== '' && endpoint.network !== '' && proxy.network !== endpoint.network) continue
    if (endpoint.subDomain) {
      const shortname = `${endpoint.hostName}.${endpoint.subDomain}`
      const known = pods.get(shortname)
      if (known) known.push(...endpoint.addresses)
      else pods.set(shortname, [...endpoint.addresses])
    }
    ips.push(...endpoint.addresses)
  }
  const rest = service.hostname.slice(service.hostname.indexOf('.') + 1)
  for (const [shortname, addresses] of pods) {
    table[`${shortname}.${rest}`] = create(NameTable_NameInfoSchema, { ips: addresses, registry, shortname, namespace })
  }
  return ips
}

/**
 * What is behind a port's number. Where services share a host and a namespace, as a Service and a ServiceEntry may, the
 * number means to all of them what it means to the youngest that has anybody there, as in istiod.
 */
function endpointsAt({ hostname, attributes }: Service, number: number, push: PushContext): readonly Endpoint[] {
  const all = push.endpoints.get(serviceKey(hostname, attributes.namespace))?.endpoints ?? []
  let found: readonly Endpoint[] = []
  for (const service of push.services.byHost.get(hostname) ?? []) {
    if (service.attributes.namespace !== attributes.namespace) continue
    const port = service.ports.find((p) => p.port === number)
    if (!port) continue
    const own = all.filter((e) => (e.servicePort === 0 ? e.portName === port.name : e.servicePort === number))
    if (own.length > 0) found = own
  }
  return found
}
