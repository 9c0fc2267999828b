// EnvoyFilter resources compiled: values parsed once as the messages they patch.
import { type DescMessage, fromJson, type JsonObject, type JsonValue, type Message } from '@bufbuild/protobuf'
import { RE2JS } from 're2js'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypedExtensionConfigSchema } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import {
  FilterChainSchema,
  FilterSchema,
  ListenerFilterSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteSchema, VirtualHostSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { HttpFilterSchema } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { messageType, typeNameOf, typeRegistry } from '../../api/registry.ts'
import { errorText, type Problem } from '../../base/errors.ts'
import type { EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter } from '../../config/index.ts'

export type ApplyTo = NonNullable<EnvoyConfigObjectPatch['applyTo']>
export type PatchContext = 'SIDECAR_INBOUND' | 'SIDECAR_OUTBOUND' | 'GATEWAY' | 'WAYPOINT'
export type Operation = NonNullable<NonNullable<EnvoyConfigObjectPatch['patch']>['operation']>

/** One patch, ready to be applied. */
export interface CompiledPatch {
  readonly applyTo: ApplyTo
  readonly operation: Operation
  readonly match: EnvoyConfigObjectMatch
  readonly filterClass: 'UNSPECIFIED' | 'AUTHN' | 'AUTHZ' | 'STATS'
  /** Null for REMOVE. Never handed out: appliers copy it. */
  readonly value: Message | null
  /** Compiled `match.proxy.proxyVersion`. */
  readonly proxyVersion: RE2JS | null
}

const SCHEMAS: Partial<Record<ApplyTo, DescMessage>> = {
  LISTENER: ListenerSchema,
  LISTENER_FILTER: ListenerFilterSchema,
  FILTER_CHAIN: FilterChainSchema,
  NETWORK_FILTER: FilterSchema,
  HTTP_FILTER: HttpFilterSchema,
  ROUTE_CONFIGURATION: RouteConfigurationSchema,
  VIRTUAL_HOST: VirtualHostSchema,
  HTTP_ROUTE: RouteSchema,
  CLUSTER: ClusterSchema,
  EXTENSION_CONFIG: TypedExtensionConfigSchema,
}

interface Compiled {
  readonly patches: readonly CompiledPatch[]
  readonly problems: readonly Problem[]
}

const memo = new WeakMap<EnvoyFilter, Compiled>()

/** The patches of a resource, and what is wrong with those that are left out. */
export function compileEnvoyFilter(resource: EnvoyFilter): Compiled {
  let compiled = memo.get(resource)
  if (!compiled) memo.set(resource, (compiled = compile(resource)))
  return compiled
}

function compile(resource: EnvoyFilter): Compiled {
  const patches: CompiledPatch[] = []
  const problems: Problem[] = []
  for (const [index, { applyTo = 'INVALID', match = {}, patch }] of (resource.spec.configPatches ?? []).entries()) {
    const path = `spec.configPatches[${index}]`
    const error = (at: string, message: string) => problems.push({ path: at, message, level: 'error' })
    if (applyTo === 'BOOTSTRAP') {
      problems.push({ path, message: 'BOOTSTRAP is not translated: the agent writes the bootstrap', level: 'warning' })
      continue
    }
    const schema = SCHEMAS[applyTo]
    if (!schema) {
      error(`${path}.applyTo`, 'is required')
      continue
    }
    const operation = patch?.operation ?? 'INVALID'
    if (operation === 'INVALID') {
      error(`${path}.patch.operation`, 'is required')
      continue
    }
    if (operation !== 'REMOVE' && !patch?.value) {
      error(`${path}.patch.value`, 'is required')
      continue
    }
    try {
      patches.push({
        applyTo,
        operation,
        match,
        filterClass: patch?.filterClass ?? 'UNSPECIFIED',
        value: operation === 'REMOVE' ? null : parseValue(schema, patch!.value as JsonObject),
        proxyVersion: match.proxy?.proxyVersion ? RE2JS.compile(match.proxy.proxyVersion) : null,
      })
    } catch (thrown) {
      error(`${path}.patch.value`, errorText(thrown))
    }
  }
  return { patches, problems }
}

function parseValue(schema: DescMessage, value: JsonObject): Message {
  return fromJson(schema, passUnknownTypes(value), { registry: typeRegistry })
}

const TYPED_STRUCT = 'type.googleapis.com/udpa.type.v1.TypedStruct'

/**
 * Extensions whose types we do not know travel as TypedStruct, which Envoy reads for any of its own: a filter that only
 * some build of Envoy has can still be configured.
 */
function passUnknownTypes(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(passUnknownTypes)
  if (typeof value !== 'object' || value === null) return value
  const type = value['@type']
  if (typeof type === 'string' && !messageType(typeNameOf(type))) {
    const { '@type': _type, ...rest } = value
    return { '@type': TYPED_STRUCT, typeUrl: type, value: rest }
  }
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, passUnknownTypes(field)]))
}
