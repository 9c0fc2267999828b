// What a matcher can look at. An input reads a string, or null where there is nothing to read; null matches nothing.

import {
  ApplicationProtocolInputSchema,
  DestinationIPInputSchema,
  DestinationPortInputSchema,
  DirectSourceIPInputSchema,
  FilterStateInputSchema,
  ServerNameInputSchema,
  SourceIPInputSchema,
  SourcePortInputSchema,
  SourceTypeInputSchema,
  TransportProtocolInputSchema,
} from '../../api/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import {
  DnsSanInputSchema,
  SubjectInputSchema,
  UriSanInputSchema,
} from '../../api/gen/envoy/extensions/matching/common_inputs/ssl/v3/ssl_inputs_pb.js'
import { HttpRequestHeaderMatchInputSchema } from '../../api/gen/envoy/type/matcher/v3/http_inputs_pb.js'
import type { TypedExtensionConfig } from '../../api/gen/xds/core/v3/extension_pb.js'
import { HttpAttributesCelMatchInputSchema } from '../../api/gen/xds/type/matcher/v3/http_inputs_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { Address, SslInfo } from '../network/connection.ts'
import type { FilterState } from '../network/filter.ts'
import { isLocalSource } from '../network/filter-chain-match.ts'
import type { StreamInfo } from '../stream-info.ts'

export type InputKind =
  | 'destination_ip'
  | 'destination_port'
  | 'source_ip'
  | 'source_port'
  | 'direct_source_ip'
  | 'source_type'
  | 'server_name'
  | 'transport_protocol'
  | 'application_protocol'
  | 'filter_state'
  | 'uri_san'
  | 'dns_san'
  | 'subject'
  | 'request_header'
  /** Everything that an expression may speak of. */
  | 'cel'

export interface InputData {
  readonly kind: InputKind
  /** Name of the header (lower case) or of the filter state; '' for the others. */
  readonly name: string
}

/** What matchers read from. `headers` is null where there is no request. */
export interface MatchFacts {
  readonly headers: HeaderMap | null
  readonly localAddress: Address
  readonly remoteAddress: Address
  readonly directRemoteAddress: Address
  readonly requestedServerName: string
  readonly transportProtocol: string
  readonly applicationProtocols: readonly string[]
  readonly ssl: SslInfo | null
  readonly filterState: FilterState
  /** What expressions read. */
  readonly stream: StreamInfo
}

const KINDS: ReadonlyMap<string, InputKind> = new Map<string, InputKind>([
  [DestinationIPInputSchema.typeName, 'destination_ip'],
  [DestinationPortInputSchema.typeName, 'destination_port'],
  [SourceIPInputSchema.typeName, 'source_ip'],
  [SourcePortInputSchema.typeName, 'source_port'],
  [DirectSourceIPInputSchema.typeName, 'direct_source_ip'],
  [SourceTypeInputSchema.typeName, 'source_type'],
  [ServerNameInputSchema.typeName, 'server_name'],
  [TransportProtocolInputSchema.typeName, 'transport_protocol'],
  [ApplicationProtocolInputSchema.typeName, 'application_protocol'],
  [FilterStateInputSchema.typeName, 'filter_state'],
  [UriSanInputSchema.typeName, 'uri_san'],
  [DnsSanInputSchema.typeName, 'dns_san'],
  [SubjectInputSchema.typeName, 'subject'],
  [HttpRequestHeaderMatchInputSchema.typeName, 'request_header'],
  [HttpAttributesCelMatchInputSchema.typeName, 'cel'],
])

const RBAC_NETWORK: readonly InputKind[] = [
  'destination_ip',
  'destination_port',
  'source_ip',
  'source_port',
  'direct_source_ip',
  'server_name',
  'filter_state',
  'uri_san',
  'dns_san',
  'subject',
]

/** The inputs that Envoy lets each use of matchers read. */
export const FILTER_CHAIN_INPUTS: ReadonlySet<InputKind> = new Set<InputKind>([
  ...RBAC_NETWORK,
  'source_type',
  'transport_protocol',
  'application_protocol',
])
export const NETWORK_RBAC_INPUTS: ReadonlySet<InputKind> = new Set(RBAC_NETWORK)
export const HTTP_RBAC_INPUTS: ReadonlySet<InputKind> = new Set<InputKind>([...RBAC_NETWORK, 'request_header', 'cel'])
/** Of filters behind a matcher: what is known when a request's headers come to them. */
export const DELEGATE_INPUTS: ReadonlySet<InputKind> = new Set<InputKind>([
  ...RBAC_NETWORK,
  'source_type',
  'request_header',
  'cel',
])
export const ROUTE_INPUTS: ReadonlySet<InputKind> = new Set<InputKind>(['request_header', 'filter_state'])

/** Throws ConfigError for an input that `allowed` does not hold. */
export function parseInput(
  input: TypedExtensionConfig | undefined,
  allowed: ReadonlySet<InputKind>,
  context: ParseContext,
): InputData {
  const any = input?.typedConfig
  if (!any) throw new ConfigError(context.path, 'needs a typed_config')
  const typeName = typeNameOf(any.typeUrl)
  const kind = KINDS.get(typeName)
  if (kind === undefined || !allowed.has(kind)) {
    throw new ConfigError(
      context.path,
      `input "${input.name}" of type ${typeName} cannot be matched here; possible are: ${[...allowed].join(', ')}`,
    )
  }
  if (kind === 'request_header')
    return { kind, name: context.unpack(any, HttpRequestHeaderMatchInputSchema).headerName.toLowerCase() }
  if (kind === 'filter_state') return { kind, name: context.unpack(any, FilterStateInputSchema).key }
  return { kind, name: '' }
}

export type Input = (facts: MatchFacts) => string | null

export function compileInput({ kind, name }: InputData): Input {
  switch (kind) {
    case 'destination_ip':
      return (facts) => orNull(facts.localAddress.ip)
    case 'destination_port':
      return (facts) => port(facts.localAddress)
    case 'source_ip':
      return (facts) => orNull(facts.remoteAddress.ip)
    case 'source_port':
      return (facts) => port(facts.remoteAddress)
    case 'direct_source_ip':
      return (facts) => orNull(facts.directRemoteAddress.ip)
    case 'source_type':
      return (facts) => (isLocalSource(facts.remoteAddress.ip, facts.localAddress.ip) ? 'local' : null)
    case 'server_name':
      return (facts) => orNull(facts.requestedServerName)
    case 'transport_protocol':
      return (facts) => orNull(facts.transportProtocol)
    case 'application_protocol':
      // Each in quotes, so that one can be looked for with `contains`.
      return ({ applicationProtocols: list }) => (list.length === 0 ? null : `'${list.join("','")}'`)
    case 'filter_state':
      return ({ filterState }) => {
        const value = filterState.get(name)
        return typeof value === 'string' ? value : null
      }
    case 'uri_san':
      return ({ ssl }) => (ssl ? orNull(ssl.uriSanPeer.join(',')) : null)
    case 'dns_san':
      return ({ ssl }) => (ssl ? orNull(ssl.dnsSanPeer.join(',')) : null)
    case 'subject':
      return ({ ssl }) => (ssl ? orNull(ssl.subjectPeer) : null)
    case 'cel':
      // No text: only expressions look there (config.ts).
      return () => null
    case 'request_header':
      return ({ headers }) => headers?.getAll(name) ?? null
  }
}

function orNull(text: string): string | null {
  return text === '' ? null : text
}

function port(address: Address): string | null {
  return address.ip === '' ? null : String(address.port)
}
