// What a proxy's configuration tells about a service: the DestinationRule and the VirtualService that its clusters and
// routes were made from, and the policies it enforces.

import type { MeshObject } from '../access.ts'
import { type ConfigDump, field, type Json } from '../envoy/config-dump.ts'
import { list, object, string, strings } from '../envoy/json.ts'
import { namespaceOf } from './objects.ts'

/** Name and namespace of a resource. */
export interface ResourceName {
  readonly name: string
  readonly namespace: string
}

const SUFFIX = '.svc.cluster.local'
const VIRTUAL_INBOUND = 'virtualInbound'

/** The DestinationRule of a port's cluster without subset. */
export function destinationRuleOf(dump: ConfigDump, service: MeshObject, port: number): ResourceName | null {
  const host = `${service.metadata.name}.${namespaceOf(service)}${SUFFIX}`
  const cluster = dump.list('ClustersConfigDump', 'dynamic_active_clusters', 'cluster').find(({ value }) => {
    const [direction, number, , fqdn] = string(value, 'name').split('|')
    return direction === 'outbound' && Number(number) === port && fqdn === host && object(value, 'metadata')
  })
  return configOf(cluster?.value, 'destination-rule')
}

/** The VirtualService of the first route that leads to a port of the service. */
export function virtualServiceOf(dump: ConfigDump, service: MeshObject, port: number): ResourceName | null {
  for (const { value } of dump.list('RoutesConfigDump', 'dynamic_route_configs', 'route_config')) {
    const name = string(value, 'name')
    if (name !== String(port) && !/^https?\./.test(name)) continue
    for (const host of list(value, 'virtual_hosts')) {
      const route = list(host, 'routes').find((one) => leadsTo(one, host, service, port))
      if (route) return configOf(route, 'virtual-service')
    }
  }
  return null
}

function leadsTo(route: Json, host: Json, service: MeshObject, port: number): boolean {
  const own = `${service.metadata.name}.${namespaceOf(service)}${SUFFIX}`
  if (strings(host, 'domains').some((domain) => domain.split('.').slice(-5).join('.') === own)) return true
  const action = object(route, 'route')
  const cluster = string(action, 'cluster') || string(list(object(action, 'weighted_clusters'), 'clusters')[0], 'name')
  const [direction, number, , fqdn = ''] = cluster.split('|')
  return direction === 'outbound' && Number(number) === port && fqdn.split('.').slice(-5).join('.') === own
}

/** `metadata.filter_metadata.istio.config` names what a cluster or route was made from. */
function configOf(value: Json | undefined, kind: string): ResourceName | null {
  const istio = field((object(value, 'metadata', 'filter_metadata') ?? {}) as Json, 'istio') as Json | undefined
  const path = string(istio, 'config')
  const match = new RegExp(`/apis/networking(?:\\.istio\\.io)?/v1(?:alpha3)?/namespaces/([^/]+)/${kind}/([^/]+)`).exec(
    path,
  )
  return match ? { namespace: match[1]!, name: match[2]! } : null
}

/** Names of the policies in the RBAC filter of the first HTTP chain of the inbound listener, sorted. */
export function enforcedPolicies(dump: ConfigDump): string[] {
  for (const { value } of dump.list('ListenersConfigDump', 'dynamic_listeners', 'active_state', 'listener')) {
    if (string(value, 'name') !== VIRTUAL_INBOUND) continue
    const manager = list(value, 'filter_chains')
      .flatMap((chain) => list(chain, 'filters'))
      .map((filter) => object(filter, 'typed_config'))
      .find((config) => string(config, '@type').endsWith('.HttpConnectionManager'))
    const filter = list(manager, 'http_filters').find((one) => string(one, 'name') === 'envoy.filters.http.rbac')
    return Object.keys(object(filter, 'typed_config', 'rules', 'policies') ?? {}).sort()
  }
  return []
}
