// NDS: the names that the agent's DNS proxy answers, with their addresses.
import { create } from '@bufbuild/protobuf'
import { type NameTable, NameTable_NameInfoSchema, NameTableSchema } from '../../api/gen/istio/nds_pb.js'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { type Service, serviceKey } from '../model/service.ts'

export const NDS_TYPE = 'type.googleapis.com/istio.networking.nds.v1.NameTable'

/** Every name a proxy may look up. Wildcard hosts are not names; services without any address are left to other DNS. */
export function generateNameTable(proxy: ProxyNode, push: PushContext): NameTable {
  const table: NameTable['table'] = {}
  const add = (host: string, ips: readonly string[], service: Service, shortname: string): void => {
    const known = table[host]
    if (known) known.ips = [...new Set([...known.ips, ...ips])]
    else {
      const { registry, namespace } = service.attributes
      const kubernetes = registry === 'Kubernetes'
      table[host] = create(NameTable_NameInfoSchema, {
        ips: [...ips],
        registry,
        shortname: kubernetes ? shortname : '',
        namespace: kubernetes ? namespace : '',
      })
    }
  }
  for (const service of push.sidecarScope(proxy).services) {
    if (service.hostname.startsWith('*') || service.resolution === 'Alias') continue
    const ips = addressesOf(service, push)
    if (ips.length > 0)
      for (const host of [service.hostname, ...service.aliases]) add(host, ips, service, service.attributes.name)
    if (service.resolution === 'Passthrough') addPods(service, push, add)
  }
  return create(NameTableSchema, { table })
}

function addressesOf(service: Service, push: PushContext): readonly string[] {
  const own = service.addresses.filter((address) => !address.includes('/'))
  if (own.length > 0) return own
  if (service.autoAllocatedAddresses.length > 0) return service.autoAllocatedAddresses
  // Headless: whatever is behind it and ready.
  if (service.resolution !== 'Passthrough' || service.attributes.registry !== 'Kubernetes') return []
  return [...new Set(endpointsOf(service, push).map((e) => e.address))]
}

function endpointsOf(service: Service, push: PushContext) {
  const set = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
  const unready = service.attributes.publishNotReadyAddresses
  return set?.endpoints.filter((e) => e.health === 'HEALTHY' || unready) ?? []
}

/** Pods of a headless service have names of their own: `<hostname>.<subdomain>.<namespace>.svc.<domain>`. */
function addPods(
  service: Service,
  push: PushContext,
  add: (host: string, ips: readonly string[], service: Service, shortname: string) => void,
): void {
  for (const endpoint of endpointsOf(service, push)) {
    if (!endpoint.hostName || endpoint.subDomain !== service.attributes.name) continue
    const shortname = `${endpoint.hostName}.${endpoint.subDomain}`
    add(`${endpoint.hostName}.${service.hostname}`, [endpoint.address], service, shortname)
  }
}
