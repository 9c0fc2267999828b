import { type Infer, integer, list, map, message, oneOfNames, string, struct } from '../schema.ts'
import { targetReferences, workloadSelector } from './common.ts'

const filter = message({ name: string(), subFilter: message({ name: string() }) })

const listenerMatch = message({
  portNumber: integer({ min: 0 }),
  portName: string(),
  filterChain: message({
    name: string(),
    sni: string(),
    transportProtocol: string(),
    applicationProtocols: string(),
    filter,
    destinationPort: integer({ min: 0 }),
  }),
  name: string(),
  listenerFilter: string(),
})

const routeConfigurationMatch = message({
  portNumber: integer({ min: 0 }),
  portName: string(),
  gateway: string(),
  vhost: message({
    name: string(),
    domainName: string(),
    route: message({ name: string(), action: oneOfNames('ANY', 'ROUTE', 'REDIRECT', 'DIRECT_RESPONSE') }),
  }),
  name: string(),
})

const match = message(
  {
    context: oneOfNames('ANY', 'SIDECAR_INBOUND', 'SIDECAR_OUTBOUND', 'GATEWAY', 'WAYPOINT'),
    proxy: message({ proxyVersion: string(), metadata: map(string()) }),
    listener: listenerMatch,
    routeConfiguration: routeConfigurationMatch,
    cluster: message({ portNumber: integer({ min: 0 }), service: string(), subset: string(), name: string() }),
    waypoint: message({ portNumber: integer({ min: 0 }), filter, route: message({ name: string() }) }),
  },
  { oneof: [['listener', 'routeConfiguration', 'cluster', 'waypoint']] },
)
export type EnvoyConfigObjectMatch = Infer<typeof match>

const configPatch = message({
  applyTo: oneOfNames(
    'INVALID',
    'LISTENER',
    'FILTER_CHAIN',
    'NETWORK_FILTER',
    'HTTP_FILTER',
    'ROUTE_CONFIGURATION',
    'VIRTUAL_HOST',
    'HTTP_ROUTE',
    'CLUSTER',
    'EXTENSION_CONFIG',
    'BOOTSTRAP',
    'LISTENER_FILTER',
  ),
  match,
  patch: message({
    operation: oneOfNames(
      'INVALID',
      'MERGE',
      'ADD',
      'REMOVE',
      'INSERT_BEFORE',
      'INSERT_AFTER',
      'INSERT_FIRST',
      'REPLACE',
      'MERGE_AND_REPLACE_LIST',
    ),
    value: struct,
    filterClass: oneOfNames('UNSPECIFIED', 'AUTHN', 'AUTHZ', 'STATS'),
  }),
})
export type EnvoyConfigObjectPatch = Infer<typeof configPatch>

export const envoyFilter = message({
  workloadSelector,
  targetRefs: targetReferences,
  configPatches: list(configPatch),
  priority: integer(),
})
export type EnvoyFilterSpec = Infer<typeof envoyFilter>
