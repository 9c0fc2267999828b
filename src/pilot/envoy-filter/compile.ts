// EnvoyFilter resources compiled: values parsed once as the messages they patch.
import type { DescMessage, JsonObject, Message } from '@bufbuild/protobuf'
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
import { errorText, type Problem } from '../../base/errors.ts'
import type { EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter } from '../../config/index.ts'
import { readPatchValue } from './patch-value.ts'

export type ApplyTo = NonNullable<EnvoyConfigObjectPatch['applyTo']>
export type PatchContext = 'SIDECAR_INBOUND' | 'SIDECAR_OUTBOUND' | 'GATEWAY' | 'WAYPOINT'
export type Operation = NonNullable<NonNullable<EnvoyConfigObjectPatch['patch']>['operation']>

/** One patch, ready to be applied. */
export interface CompiledPatch {
  readonly applyTo: ApplyTo
  readonly operation: Operation
  readonly match: EnvoyConfigObjectMatch
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

const INSERTIONS: ReadonlySet<Operation> = new Set(['INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST'])
/** Kinds whose order counts: elsewhere an insertion is an addition. */
const ORDERED: ReadonlySet<ApplyTo> = new Set(['HTTP_FILTER', 'NETWORK_FILTER', 'HTTP_ROUTE', 'LISTENER_FILTER'])

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
    if ((patch?.filterClass ?? 'UNSPECIFIED') !== 'UNSPECIFIED') {
      const message = 'has no effect, as in istiod: say where the filter stands by its operation and match'
      problems.push({ path: `${path}.patch.filterClass`, message, level: 'warning' })
    }
    try {
      // That of a REMOVE means nothing, and must be right all the same, as for istiod.
      const read = patch?.value ? readPatchValue(schema, patch.value as JsonObject) : null
      for (const field of read?.unknown ?? [])
        problems.push({
          path: `${path}.patch.value.${field}`,
          message: 'unknown field, it is left out',
          level: 'warning',
        })
      patches.push({
        applyTo,
        operation: INSERTIONS.has(operation) && !ORDERED.has(applyTo) ? 'ADD' : operation,
        match,
        value: operation === 'REMOVE' ? null : (read?.value ?? null),
        proxyVersion: match.proxy?.proxyVersion ? RE2JS.compile(match.proxy.proxyVersion) : null,
      })
    } catch (thrown) {
      error(`${path}.patch.value`, errorText(thrown))
    }
  }
  return { patches, problems }
}
