// envoy.config.listener.v3.Listener → plain data (envoy-contract §4). Runs on the main thread; the only place that validates.

import { createHash } from 'node:crypto'
import { toBinary } from '@bufbuild/protobuf'
import { StringValueSchema } from '@bufbuild/protobuf/wkt'
import { TrafficDirection } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type FilterChain,
  FilterChainMatch_ConnectionSourceType,
  type FilterChainMatch as FilterChainMatchMessage,
  FilterChainMatchSchema,
  FilterChainSchema,
  type ListenerFilterChainMatchPredicate,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  type Listener,
  type Listener_ConnectionBalanceConfig,
  Listener_DrainType,
  ListenerSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { parseAddress, parseSocketOptions } from '../config/address.ts'
import { durationMsOr } from '../config/duration.ts'
import type { NetworkFilterExtension, ParseContext, ParsedExtension } from '../config/extension.ts'
import type { ExtensionRegistry } from '../config/extension-registry.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { type MatcherData, type MatcherUse, parseMatcher } from '../matching/config.ts'
import { FILTER_CHAIN_INPUTS } from '../matching/inputs.ts'
import { parseAccessLog } from '../observe/access-log-config.ts'
import type { Address } from './connection.ts'
import { sharedBalance } from './connection-balance.ts'
import { sharedCount } from './connection-limits.ts'
import { type FilterChainMatch, indexFilterChains } from './filter-chain-match.ts'
import type { ListenerFilterPredicate } from './listener-filter.ts'
import type { SocketOption } from './socket-options.ts'

export interface FilterChainConfig {
  readonly name: string
  readonly match: FilterChainMatch
  readonly filters: readonly ParsedExtension[]
  /** null = raw_buffer. */
  readonly transportSocket: ParsedExtension | null
  /** For the handshake; 0 = no limit. */
  readonly transportSocketConnectTimeoutMs: number
  readonly metadata: Readonly<Record<string, unknown>>
  /** Digest of the whole chain: chains of equal key in two versions of a listener are the same one. */
  readonly key: string
}

export interface ListenerFilterConfig extends ParsedExtension {
  /** The filter is skipped where this holds; null = never. */
  readonly disabled: ListenerFilterPredicate | null
}

export interface ListenerConfig {
  readonly name: string
  readonly addresses: readonly Address[]
  readonly bindToPort: boolean
  readonly useOriginalDst: boolean
  readonly reusePort: boolean
  readonly backlog: number
  readonly ipv6Only: boolean
  /** Set on the listening socket before bind. */
  readonly socketOptions: readonly SocketOption[]
  readonly transparent: boolean
  readonly filterChains: readonly FilterChainConfig[]
  readonly defaultFilterChain: FilterChainConfig | null
  /** Chooses a chain by name in place of the chains' own `match`; null = there is none. */
  readonly filterChainMatcher: MatcherData<string> | null
  readonly bufferLimitBytes: number
  readonly listenerFilters: readonly ListenerFilterConfig[]
  /** 0 = wait for ever. */
  readonly listenerFiltersTimeoutMs: number
  readonly continueOnListenerFiltersTimeout: boolean
  readonly trafficDirection: 'UNSPECIFIED' | 'INBOUND' | 'OUTBOUND'
  /** Replaces the address in stat names; '' = the address. */
  readonly statPrefix: string
  readonly accessLogs: readonly ParsedExtension[]
  readonly drainType: 'DEFAULT' | 'MODIFY_ONLY'
  readonly ignoreGlobalConnectionLimit: boolean
  readonly bypassOverloadManager: boolean
  /** Connections of this listener, counted by all workers. */
  readonly openConnections: SharedArrayBuffer
  /** exact_balance: its connections by worker; null = whoever accepts a connection keeps it. */
  readonly balance: SharedArrayBuffer | null
  readonly metadata: Readonly<Record<string, unknown>>
  /** Digest of everything but the filter chains and what chooses between them: when it is equal, an update replaces chains in place. */
  readonly key: string
}

const LISTENER_FIELDS = new Set([
  'name',
  'address',
  'additional_addresses',
  'stat_prefix',
  'filter_chains',
  'default_filter_chain',
  'filter_chain_matcher',
  'use_original_dst',
  'per_connection_buffer_limit_bytes',
  'metadata',
  'drain_type',
  'listener_filters',
  'listener_filters_timeout',
  'continue_on_listener_filters_timeout',
  'transparent',
  'freebind',
  'socket_options',
  'traffic_direction',
  'connection_balance_config',
  'reuse_port',
  'enable_reuse_port',
  'access_log',
  'tcp_backlog_size',
  // libuv accepts one connection for each event, which is never more than the field allows.
  'max_connections_to_accept_per_socket_event',
  'bind_to_port',
  'deprecated_v1',
  'ignore_global_conn_limit',
  'bypass_overload_manager',
])

const DEFAULT_BUFFER_LIMIT = 1024 * 1024
const DEFAULT_LISTENER_FILTERS_TIMEOUT_MS = 15_000
/** Linux caps it at net.core.somaxconn, which is Envoy's default. */
const DEFAULT_BACKLOG = 65535

/** Throws ConfigError. Routes and secrets that must be there before it may serve are reported to `context`. */
export function parseListener(message: Listener, context: ParseContext, registry: ExtensionRegistry): ListenerConfig {
  const { path } = context
  refuseUnsupported(ListenerSchema, message, LISTENER_FIELDS, path)
  if (!message.address) throw new ConfigError(context.at('address').path, 'is missing')
  const addresses = [parseAddress(message.address, context.at('address').path)]
  message.additionalAddresses.forEach((extra, i) => {
    const at = context.at(`additional_addresses[${i}].address`).path
    if (!extra.address) throw new ConfigError(at, 'is missing')
    addresses.push(parseAddress(extra.address, at))
  })
  if (message.filterChains.length === 0 && !message.defaultFilterChain) {
    throw new ConfigError(path, `error adding listener '${addresses[0]!.text}': no filter chains specified`)
  }
  const filterChains = message.filterChains.map((chain, i) =>
    parseFilterChain(chain, context.at(`filter_chains[${i}]`), registry),
  )
  const filterChainMatcher = message.filterChainMatcher
    ? parseMatcher(message.filterChainMatcher, CHAIN_BY_NAME, context.at('filter_chain_matcher'))
    : null
  const names = filterChains.map((chain) => chain.name)
  if (filterChainMatcher !== null) checkChainNames(names, addresses[0]!, context)
  else
    indexFilterChains(
      filterChains.map((chain) => chain.match),
      names,
    )
  const defaultFilterChain = message.defaultFilterChain
    ? parseFilterChain(message.defaultFilterChain, context.at('default_filter_chain'), registry)
    : null
  const socket = message.address.address.case === 'socketAddress' ? message.address.address.value : null
  if (socket?.ipv4Compat && addresses[0]!.ip !== '::' && !addresses[0]!.ip.startsWith('::ffff:')) {
    throw new ConfigError(
      context.at('address.socket_address.ipv4_compat').path,
      `Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat: ${addresses[0]!.text}`,
    )
  }
  const { freebind, transparent, ...rest } = message
  return {
    name: message.name,
    addresses,
    bindToPort: message.bindToPort ?? message.deprecatedV1?.bindToPort ?? true,
    useOriginalDst: message.useOriginalDst ?? false,
    reusePort: message.enableReusePort ?? true,
    backlog: message.tcpBacklogSize ?? DEFAULT_BACKLOG,
    ipv6Only: socket?.ipv4Compat !== true,
    socketOptions: parseSocketOptions(
      rest.socketOptions,
      { freebind: freebind ?? false, transparent: transparent ?? false, ip: addresses[0]!.ip },
      context.at('socket_options').path,
    ),
    transparent: transparent ?? false,
    filterChains,
    defaultFilterChain,
    filterChainMatcher,
    bufferLimitBytes: message.perConnectionBufferLimitBytes ?? DEFAULT_BUFFER_LIMIT,
    listenerFilters: message.listenerFilters.map((filter, i) => {
      const at = context.at(`listener_filters[${i}]`)
      if (filter.configType.case === 'configDiscovery')
        throw new ConfigError(
          at.at('config_discovery').path,
          'listener filters by discovery are not supported by this proxy',
        )
      return {
        ...at.parseAny('listener_filter', filter.configType.value, filter.name),
        disabled: filter.filterDisabled ? parsePredicate(filter.filterDisabled, at.at('filter_disabled').path) : null,
      }
    }),
    listenerFiltersTimeoutMs: durationMsOr(message.listenerFiltersTimeout, DEFAULT_LISTENER_FILTERS_TIMEOUT_MS),
    continueOnListenerFiltersTimeout: message.continueOnListenerFiltersTimeout,
    trafficDirection: TRAFFIC_DIRECTION[message.trafficDirection] ?? 'UNSPECIFIED',
    statPrefix: message.statPrefix,
    accessLogs: message.accessLog.map((log, i) => {
      const at = context.at(`access_log[${i}]`)
      return parseAccessLog(log, at)
    }),
    drainType: message.drainType === Listener_DrainType.MODIFY_ONLY ? 'MODIFY_ONLY' : 'DEFAULT',
    ignoreGlobalConnectionLimit: message.ignoreGlobalConnLimit,
    bypassOverloadManager: message.bypassOverloadManager,
    openConnections: sharedCount(),
    balance: parseBalance(message.connectionBalanceConfig, context.at('connection_balance_config')),
    metadata: message.metadata?.filterMetadata ?? {},
    key: digest(
      toBinary(ListenerSchema, {
        ...message,
        filterChains: [],
        defaultFilterChain: undefined,
        filterChainMatcher: undefined,
      }),
    ),
  }
}

function parseBalance(
  message: Listener_ConnectionBalanceConfig | undefined,
  context: ParseContext,
): SharedArrayBuffer | null {
  if (message === undefined) return null
  const { balanceType } = message
  if (balanceType.case !== 'exactBalance')
    throw new ConfigError(context.path, 'only exact_balance is supported by this proxy')
  return sharedBalance()
}

const TRAFFIC_DIRECTION: Readonly<Record<number, ListenerConfig['trafficDirection']>> = {
  [TrafficDirection.INBOUND]: 'INBOUND',
  [TrafficDirection.OUTBOUND]: 'OUTBOUND',
}

const CHAIN_BY_NAME: MatcherUse<string> = {
  inputs: FILTER_CHAIN_INPUTS,
  action: ({ name, typedConfig }, context) => {
    if (!typedConfig) throw new ConfigError(context.path, `action "${name}" has no typed_config`)
    return context.unpack(typedConfig, StringValueSchema).value
  },
}

function checkChainNames(names: readonly string[], address: Address, context: ParseContext): void {
  const seen = new Set<string>()
  names.forEach((name, i) => {
    const at = context.at(`filter_chains[${i}]`).path
    const adding = `error adding listener '${address.text}': "name" field is`
    if (name === '') throw new ConfigError(at, `${adding} required when using a listener matcher`)
    if (seen.has(name)) throw new ConfigError(at, `${adding} duplicated with value '${name}'`)
    seen.add(name)
  })
}

function digest(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('base64')
}

const CHAIN_FIELDS = new Set([
  'filter_chain_match',
  'filters',
  'use_proxy_proto',
  'metadata',
  'transport_socket',
  'transport_socket_connect_timeout',
  'name',
])

function parseFilterChain(message: FilterChain, context: ParseContext, registry: ExtensionRegistry): FilterChainConfig {
  refuseUnsupported(FilterChainSchema, message, CHAIN_FIELDS, context.path)
  if (message.useProxyProto)
    throw new ConfigError(context.at('use_proxy_proto').path, 'is deprecated; use the proxy_protocol listener filter')
  const filters = message.filters.map((filter, i) => {
    const at = context.at(`filters[${i}]`)
    if (filter.configType.case === 'configDiscovery')
      throw new ConfigError(
        at.at('config_discovery').path,
        'network filters by discovery are not supported by this proxy',
      )
    const parsed = at.parseAny('network_filter', filter.configType.value, filter.name)
    const last = i === message.filters.length - 1
    const terminal =
      (registry.get('network_filter', parsed.typeUrl) as NetworkFilterExtension | undefined)?.terminal === true
    if (terminal && !last) {
      throw new ConfigError(
        at.path,
        `Error: terminal filter named ${filter.name} of type ${filter.name} must be the last filter in a network filter chain.`,
      )
    }
    if (!terminal && last) {
      throw new ConfigError(
        at.path,
        `Error: non-terminal filter named ${filter.name} of type ${filter.name} is the last filter in a network filter chain.`,
      )
    }
    return parsed
  })
  const { transportSocket } = message
  return {
    name: message.name,
    match: parseMatch(message.filterChainMatch, context.at('filter_chain_match').path),
    filters,
    transportSocket: transportSocket
      ? context
          .at('transport_socket')
          .parseAny('transport_socket', transportSocket.configType.value, transportSocket.name)
      : null,
    transportSocketConnectTimeoutMs: durationMsOr(message.transportSocketConnectTimeout, 0),
    metadata: message.metadata?.filterMetadata ?? {},
    key: digest(toBinary(FilterChainSchema, message)),
  }
}

const SOURCE_TYPE: Readonly<Record<number, FilterChainMatch['sourceType']>> = {
  [FilterChainMatch_ConnectionSourceType.SAME_IP_OR_LOOPBACK]: 'SAME_IP_OR_LOOPBACK',
  [FilterChainMatch_ConnectionSourceType.EXTERNAL]: 'EXTERNAL',
}
const MATCH_FIELDS = new Set([
  'destination_port',
  'prefix_ranges',
  'server_names',
  'transport_protocol',
  'application_protocols',
  'direct_source_prefix_ranges',
  'source_type',
  'source_prefix_ranges',
  'source_ports',
])

function parseMatch(message: FilterChainMatchMessage | undefined, path: string): FilterChainMatch {
  if (message) refuseUnsupported(FilterChainMatchSchema, message, MATCH_FIELDS, path)
  return {
    destinationPort: message?.destinationPort ?? 0,
    prefixRanges: (message?.prefixRanges ?? []).map(cidr),
    serverNames: message?.serverNames ?? [],
    transportProtocol: message?.transportProtocol ?? '',
    applicationProtocols: message?.applicationProtocols ?? [],
    directSourcePrefixRanges: (message?.directSourcePrefixRanges ?? []).map(cidr),
    sourceType: SOURCE_TYPE[message?.sourceType ?? 0] ?? 'ANY',
    sourcePrefixRanges: (message?.sourcePrefixRanges ?? []).map(cidr),
    sourcePorts: message?.sourcePorts ?? [],
  }
}

function cidr(range: { addressPrefix: string; prefixLen?: number | undefined }): {
  addressPrefix: string
  prefixLen: number
} {
  return { addressPrefix: range.addressPrefix, prefixLen: range.prefixLen ?? 0 }
}

function parsePredicate(message: ListenerFilterChainMatchPredicate, path: string): ListenerFilterPredicate {
  const { rule } = message
  switch (rule.case) {
    case 'anyMatch':
      return { kind: 'any' }
    case 'destinationPortRange':
      return { kind: 'port', start: rule.value.start, end: rule.value.end }
    case 'notMatch':
      return { kind: 'not', rule: parsePredicate(rule.value, `${path}.not_match`) }
    case 'orMatch':
    case 'andMatch':
      return {
        kind: rule.case === 'orMatch' ? 'or' : 'and',
        rules: rule.value.rules.map((one, i) => parsePredicate(one, `${path}.rules[${i}]`)),
      }
    default:
      throw new ConfigError(path, 'needs a rule')
  }
}
