// proxy-config endpoint (from /clusters?format=json) and eds (from a config dump with endpoints).

import type { JsonObject } from '@bufbuild/protobuf'
import { UserError } from '../../base/errors.ts'
import { tabulate } from '../tab-writer.ts'
import { byClusterName } from './clusters.ts'
import { type ConfigDump, type Dumped, type Json, snakeCase } from './config-dump.ts'
import { goSort } from './go-sort.ts'
import { list, number, object, string } from './json.ts'

export interface EndpointFilter {
  readonly address: string
  readonly port: number
  readonly cluster: string
  readonly status: string
}

interface Endpoint {
  readonly address: string
  readonly port: number
  readonly cluster: string
  readonly status: string
  readonly outlierFailed: boolean
}

/** The answer of /clusters?format=json. Throws UserError for what is no JSON. */
export function parseClusterStatuses(text: string): readonly Json[] {
  try {
    return list(snakeCase(JSON.parse(text)) as Json, 'cluster_statuses')
  } catch (error) {
    throw new UserError(`error unmarshalling clusters response from Envoy: ${(error as Error).message}`, 1, {
      cause: error,
    })
  }
}

/** Clusters with the hosts that fit, for -o json. */
export function filterClusterStatuses(statuses: readonly Json[], filter: EndpointFilter): Json[] {
  const out: Json[] = []
  for (const cluster of statuses) {
    const hosts = list(cluster, 'host_statuses').filter((host) =>
      fits(endpointOf(host, string(cluster, 'name')), filter),
    )
    if (hosts.length > 0) out.push({ ...cluster, host_statuses: hosts })
  }
  return out
}

export function endpointTable(statuses: readonly Json[], filter: EndpointFilter): string {
  const all = statuses.flatMap((cluster) =>
    list(cluster, 'host_statuses').map((host) => endpointOf(host, string(cluster, 'name'))),
  )
  const shown = sorted(all.filter((endpoint) => fits(endpoint, filter)))
  const rows = shown.map((e) => [endpointText(e), e.status, e.outlierFailed ? 'FAILED' : 'OK', e.cluster])
  return tabulate([['ENDPOINT', 'STATUS', 'OUTLIER CHECK', 'CLUSTER'], ...rows], 5)
}

function endpointOf(host: Json, cluster: string): Endpoint {
  const health = object(host, 'health_status')
  return {
    ...addressOf(object(host, 'address'), 'unix://'),
    cluster,
    status: string(health, 'eds_health_status') || 'UNKNOWN',
    outlierFailed: health?.failed_outlier_check === true,
  }
}

/** istioctl shows the path of a pipe after `unix://` where it reads /clusters, and alone where it reads a config dump. */
function addressOf(address: Json | undefined, pipePrefix: string): { address: string; port: number } {
  const socket = object(address, 'socket_address')
  if (socket) return { address: string(socket, 'address'), port: number(socket, 'port_value') }
  const pipe = object(address, 'pipe')
  if (pipe) return { address: `${pipePrefix}${string(pipe, 'path')}`, port: 0 }
  const internal = object(address, 'envoy_internal_address')
  const id = string(internal, 'endpoint_id')
  return { address: `envoy://${string(internal, 'server_listener_name')}/${id}`, port: 0 }
}

function endpointText(endpoint: { address: string; port: number }): string {
  return endpoint.port === 0 ? endpoint.address : `${endpoint.address}:${endpoint.port}`
}

function fits(endpoint: Endpoint, filter: EndpointFilter): boolean {
  const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase()
  // With its port, as istioctl wants it of what EDS gave.
  const addresses = [endpoint.address, endpointText(endpoint)]
  if (filter.address && !addresses.some((address) => same(address, filter.address))) return false
  if (filter.port && endpoint.port !== filter.port) return false
  if (filter.cluster && !same(endpoint.cluster, filter.cluster)) return false
  return !filter.status || same(endpoint.status, filter.status)
}

function sorted<E extends { address: string; port: number; cluster: string }>(all: readonly E[]): E[] {
  return goSort(all, (a, b) => {
    if (a.address !== b.address) return a.address < b.address
    return a.port !== b.port ? a.port < b.port : a.cluster < b.cluster
  })
}

/** ClusterLoadAssignments of a config dump; none of one that was made without include_eds. */
export function loadAssignments(dump: ConfigDump): Dumped[] {
  if (!dump.hasSection('EndpointsConfigDump')) return []
  return [
    ...dump.list('EndpointsConfigDump', 'dynamic_endpoint_configs', 'endpoint_config'),
    ...dump.list('EndpointsConfigDump', 'static_endpoint_configs', 'endpoint_config'),
  ]
}

/** Those of them in which an endpoint fits, with the endpoints that do, by cluster. */
export function filterLoadAssignments(all: readonly Dumped[], filter: EndpointFilter): Dumped[] {
  const some = all.flatMap((one) => withFitting(one, filter) ?? [])
  return byClusterName(some, ({ value }) => string(value, 'cluster_name'))
}

function withFitting({ raw }: Dumped, filter: EndpointFilter): Dumped | null {
  const cluster = String(raw.cluster_name ?? raw.clusterName ?? '')
  let count = 0
  const localities = (Array.isArray(raw.endpoints) ? (raw.endpoints as JsonObject[]) : []).map((locality) => {
    const name = 'lbEndpoints' in locality ? 'lbEndpoints' : 'lb_endpoints'
    const kept = (Array.isArray(locality[name]) ? (locality[name] as JsonObject[]) : []).filter((entry) =>
      fits(lbEndpoint(snakeCase(entry) as Json, cluster), filter),
    )
    count += kept.length
    return { ...locality, [name]: kept }
  })
  if (count === 0) return null
  const filtered = { ...raw, endpoints: localities }
  return { raw: filtered, value: snakeCase(filtered) as Json }
}

/** By cluster. `named`: the names are `endpoint/ADDRESS`, for the table of everything. */
export function edsTable(all: readonly Dumped[], filter: EndpointFilter, named = false): string {
  const shown = filterLoadAssignments(all, filter).flatMap(({ value }) => assignedEndpoints(value))
  const rows = shown.map((e) => [`${named ? 'endpoint/' : ''}${endpointText(e)}`, e.status, e.locality, e.cluster])
  return tabulate([['NAME', 'STATUS', 'LOCALITY', 'CLUSTER'], ...rows], 5)
}

function lbEndpoint(entry: Json, cluster: string): Endpoint {
  return {
    ...addressOf(object(entry, 'endpoint', 'address'), ''),
    cluster,
    status: string(entry, 'health_status') || 'UNKNOWN',
    outlierFailed: false,
  }
}

function assignedEndpoints(assignment: Json): (Endpoint & { locality: string })[] {
  const cluster = string(assignment, 'cluster_name')
  return list(assignment, 'endpoints').flatMap((group) => {
    const place = object(group, 'locality')
    const locality = [string(place, 'region'), string(place, 'zone'), string(place, 'sub_zone')]
      .filter(Boolean)
      .join('/')
    return list(group, 'lb_endpoints').map((entry) => ({ ...lbEndpoint(entry, cluster), locality }))
  })
}
