// proxy-config listener.

import { UserError } from '../../base/errors.ts'
import { tabulate } from '../tab-writer.ts'
import type { ConfigDump, Dumped, Json } from './config-dump.ts'
import { goSort } from './go-sort.ts'
import { list, number, object, string, strings } from './json.ts'
import { clusterText, inlineRouteText } from './routes.ts'

export interface ListenerFilter {
  readonly address: string
  readonly port: number
  readonly type: string
}

const HCM = 'envoy.filters.network.http_connection_manager'
const TCP_PROXY = 'envoy.filters.network.tcp_proxy'
const BLACK_HOLE = 'BlackHoleCluster'

/** Listeners in the order of the dump. Throws UserError without any. */
export function listeners(dump: ConfigDump, filter: ListenerFilter): Dumped[] {
  let all: Dumped[]
  try {
    all = [
      ...dump.list('ListenersConfigDump', 'dynamic_listeners', 'active_state', 'listener'),
      ...dump.list('ListenersConfigDump', 'static_listeners', 'listener'),
    ]
  } catch (error) {
    throw error instanceof UserError ? new UserError(`listener dump: ${error.message}`) : error
  }
  if (all.length === 0) throw new UserError('no listeners found')
  return all.filter(({ value }) => {
    if (filter.address && address(value).toLowerCase() !== filter.address.toLowerCase()) return false
    if (filter.port && port(value) !== filter.port) return false
    return !filter.type || listenerType(value).toLowerCase() === filter.type.toLowerCase()
  })
}

function sorted(all: readonly Dumped[]): Dumped[] {
  return goSort(all, (a, b) => {
    const [portA, portB] = [port(a.value), port(b.value)]
    if (portA !== portB) return portA < portB
    const [addressA, addressB] = [address(a.value), address(b.value)]
    return addressA !== addressB ? addressA < addressB : listenerType(a.value) < listenerType(b.value)
  })
}

/** By port, address and type. `named`: with a first column `listener/NAME`, for the table of everything. */
export function listenerTable(all: readonly Dumped[], verbose: boolean, named = false): string {
  const header = [...(named ? ['NAME'] : []), 'ADDRESSES', 'PORT']
  const start = (value: Json) => [
    ...(named ? [`listener/${string(value, 'name')}`] : []),
    addresses(value).join(','),
    String(port(value)),
  ]
  if (!verbose) {
    const rows = sorted(all).map(({ value }) => [...start(value), listenerType(value)])
    return tabulate([[...header, 'TYPE'], ...rows], 1)
  }
  const rows = [[...header, 'MATCH', 'DESTINATION']]
  for (const { value } of sorted(all)) {
    const matches = filterChains(value).map((chain) => ({
      match: chainMatch(object(chain, 'filter_chain_match')),
      destination: destination(list(chain, 'filters')),
    }))
    for (const { match, destination } of goSort(matches, (a, b) => a.destination > b.destination)) {
      rows.push([...start(value), match, destination])
    }
  }
  return tabulate(rows, 1)
}

function filterChains(listener: Json): readonly Json[] {
  const fallback = object(listener, 'default_filter_chain')
  return fallback ? [...list(listener, 'filter_chains'), fallback] : list(listener, 'filter_chains')
}

function address(listener: Json): string {
  const socket = object(listener, 'address', 'socket_address')
  return socket ? string(socket, 'address') : string(object(listener, 'address', 'pipe'), 'path')
}

function addresses(listener: Json): string[] {
  const more = list(listener, 'additional_addresses').map((entry) =>
    string(object(entry, 'address', 'socket_address'), 'address'),
  )
  return [address(listener), ...more.filter((text) => text !== '')]
}

function port(listener: Json): number {
  return number(object(listener, 'address', 'socket_address'), 'port_value')
}

/** HTTP, TCP, HTTP+TCP or UNKNOWN. */
function listenerType(listener: Json): string {
  let http = false
  let tcp = false
  for (const chain of filterChains(listener)) {
    for (const filter of list(chain, 'filters')) {
      if (filter.name === HCM) http = true
      else if (filter.name === TCP_PROXY && !JSON.stringify(filter).includes(BLACK_HOLE)) tcp = true
    }
  }
  if (http) return tcp ? 'HTTP+TCP' : 'HTTP'
  return tcp ? 'TCP' : 'UNKNOWN'
}

/** Names for the ALPN lists that Istio itself writes. */
const ALPN_NAMES: Readonly<Record<string, string>> = {
  'http/1.0,http/1.1,h2c': 'HTTP',
  'istio,istio-http/1.0,istio-http/1.1,istio-h2': 'Istio HTTP Plain',
  'http/1.0,http/1.1,h2c,istio-http/1.0,istio-http/1.1,istio-h2': 'HTTP TLS',
  'istio-peer-exchange,istio': 'TCP TLS',
}

function chainMatch(match: Json | undefined): string {
  const parts: string[] = []
  const names = strings(match, 'server_names')
  if (names.length > 0) parts.push(`SNI: ${names.join(',')}`)
  const transport = string(match, 'transport_protocol')
  if (transport) parts.push(`Trans: ${transport}`)
  const protocols = strings(match, 'application_protocols').join(',')
  if (protocols) parts.push(`App: ${ALPN_NAMES[protocols] ?? protocols}`)
  const destinationPort = match?.destination_port === undefined ? '' : `:${number(match, 'destination_port')}`
  const ranges = list(match, 'prefix_ranges').map(
    (range) => `${string(range, 'address_prefix')}/${number(range, 'prefix_len')}`,
  )
  if (ranges.length > 0) parts.push(`Addr: ${ranges.join(',')}${destinationPort}`)
  else if (destinationPort) parts.push(`Addr: *${destinationPort}`)
  return parts.join('; ') || 'ALL'
}

function destination(filters: readonly Json[]): string {
  for (const filter of filters) {
    const config = object(filter, 'typed_config')
    if (filter.name === HCM) {
      const inline = object(config, 'route_config')
      if (inline) return inlineRouteText(inline)
      const rds = string(object(config, 'rds'), 'route_config_name')
      return rds ? `Route: ${rds}` : 'HTTP'
    }
    if (filter.name === TCP_PROXY && !JSON.stringify(config).includes(BLACK_HOLE))
      return clusterText(string(config, 'cluster'))
  }
  return 'Non-HTTP/Non-TCP'
}
