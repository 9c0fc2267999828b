// /config_dump.

import {
  create,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  type MessageInitShape,
  type MessageShape,
  toJson,
} from '@bufbuild/protobuf'
import { type Timestamp, timestampFromDate } from '@bufbuild/protobuf/wkt'
import { RE2JS } from 're2js'
import { BootstrapConfigDumpSchema, SecretsConfigDumpSchema } from '../../api/gen/envoy/admin/v3/config_dump_pb.js'
import {
  ClientResourceStatus,
  ClustersConfigDumpSchema,
  EcdsConfigDumpSchema,
  EndpointsConfigDumpSchema,
  ListenersConfigDumpSchema,
  RoutesConfigDumpSchema,
  ScopedRoutesConfigDumpSchema,
  type UpdateFailureStateSchema,
} from '../../api/gen/envoy/admin/v3/config_dump_shared_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { applyMask } from './field-mask.ts'
import { redact } from './redact.ts'
import { type AdminRequest, type AdminResponse, json } from './response.ts'
import type { AdminSource, ConfigDumpSource, DumpedError, DumpedListener, DumpedResource } from './source.ts'

type NameFilter = (name: string) => boolean

/** One message of the dump in proto JSON, `@type` first. */
interface Dump {
  readonly desc: DescMessage
  readonly json: JsonObject
}

/** `?resource=`, `?mask=`, `?name_regex=`, `?include_eds`. */
export async function configDump(request: AdminRequest, source: AdminSource): Promise<AdminResponse> {
  const { query } = request
  let keep: NameFilter = () => true
  const expression = query.get('name_regex')
  if (expression) {
    try {
      const regex = RE2JS.compile(expression)
      keep = (name) => regex.matches(name)
    } catch {
      return refusal(`Error while parsing name_regex from ${expression}`, 400)
    }
  }
  const resource = query.get('resource')
  const mask = query.get('mask')
  const paths = mask ? mask.split(',').map((path) => path.trim().split('.')) : null
  const includeEds =
    query.has('include_eds') || resource === 'static_endpoint_configs' || resource === 'dynamic_endpoint_configs'
  const dumps = await collect(source.config, keep, includeEds)
  if (!resource) {
    return json({ configs: dumps.map((dump) => (paths ? applyMask(dump.json, paths) : dump.json)) })
  }
  for (const dump of dumps) {
    const field = dump.desc.fields.find((f) => f.name === resource)
    if (!field) continue
    if (field.fieldKind !== 'list' || field.listKind !== 'message') {
      return refusal(`${resource} is not a repeated field. Use ?mask=${resource} to get only this field`, 400)
    }
    const type = `type.googleapis.com/${field.message.typeName}`
    const items = ((dump.json[resource] as JsonObject[] | undefined) ?? []).map((item) => ({ '@type': type, ...item }))
    const configs = paths ? items.map((item) => applyMask(item, paths)) : items
    return json(configs.length > 0 ? { configs } : {})
  }
  return refusal(`${resource} not found in config dump`, 404)
}

async function collect(source: ConfigDumpSource, keep: NameFilter, includeEds: boolean): Promise<Dump[]> {
  const { bootstrap, lastUpdated } = source.bootstrap()
  const dumps = [dump(BootstrapConfigDumpSchema, { bootstrap, lastUpdated: timestampFromDate(lastUpdated) })]
  dumps.push(clusters(source, keep))
  const extensions = source.ecds()
  if (extensions) {
    dumps.push(
      dump(EcdsConfigDumpSchema, {
        ecdsFilters: extensions.filter((r) => keep(r.name)).map((r) => ({ ...common(r), ecdsFilter: r.resource })),
      }),
    )
  }
  if (includeEds) dumps.push(await endpoints(source, keep))
  dumps.push(listeners(source, keep))
  dumps.push(dump(ScopedRoutesConfigDumpSchema, {}))
  dumps.push(routes(source, keep))
  dumps.push(secrets(source, keep))
  return dumps
}

function dump<Desc extends DescMessage>(desc: Desc, init: MessageInitShape<Desc>): Dump {
  const message = create(desc, init) as MessageShape<Desc>
  const body = toJson(desc, message, { registry: typeRegistry, useProtoFieldName: true }) as JsonObject
  return {
    desc,
    json: { '@type': `type.googleapis.com/${desc.typeName}`, ...(redact(body) as Record<string, JsonValue>) },
  }
}

function clusters(source: ConfigDumpSource, keep: NameFilter): Dump {
  const all = source.clusters()
  const dynamic = (list: readonly DumpedResource[]) =>
    list.filter((r) => keep(r.name)).map((r) => ({ ...common(r), cluster: r.resource }))
  return dump(ClustersConfigDumpSchema, {
    versionInfo: all.versionInfo,
    staticClusters: all.static.filter((r) => keep(r.name)).map((r) => ({ cluster: r.resource, lastUpdated: time(r) })),
    dynamicActiveClusters: dynamic(all.active),
    dynamicWarmingClusters: dynamic(all.warming),
  })
}

async function endpoints(source: ConfigDumpSource, keep: NameFilter): Promise<Dump> {
  const all = await source.endpoints()
  return dump(EndpointsConfigDumpSchema, {
    staticEndpointConfigs: all.static.filter((r) => keep(r.name)).map((r) => ({ endpointConfig: r.resource })),
    dynamicEndpointConfigs: all.dynamic
      .filter((r) => keep(r.name))
      .map((r) => ({ ...common(r), endpointConfig: r.resource })),
  })
}

function listeners(source: ConfigDumpSource, keep: NameFilter): Dump {
  const all = source.listeners()
  const state = (r: DumpedResource | undefined) =>
    r ? { versionInfo: r.versionInfo, listener: r.resource, lastUpdated: time(r) } : undefined
  return dump(ListenersConfigDumpSchema, {
    versionInfo: all.versionInfo,
    staticListeners: all.static
      .filter((r) => keep(r.name))
      .map((r) => ({ listener: r.resource, lastUpdated: time(r) })),
    dynamicListeners: all.dynamic
      .filter((listener) => keep(listener.name))
      .map((listener: DumpedListener) => ({
        name: listener.name,
        activeState: state(listener.active),
        warmingState: state(listener.warming),
        drainingState: state(listener.draining),
        errorState: failure(listener.error),
      })),
  })
}

function routes(source: ConfigDumpSource, keep: NameFilter): Dump {
  const all = source.routes()
  return dump(RoutesConfigDumpSchema, {
    staticRouteConfigs: all.static
      .filter((r) => keep(r.name))
      .map((r) => ({ routeConfig: r.resource, lastUpdated: time(r) })),
    dynamicRouteConfigs: all.dynamic
      .filter((r) => keep(r.name))
      .map((r) => ({ ...common(r), routeConfig: r.resource })),
  })
}

function secrets(source: ConfigDumpSource, keep: NameFilter): Dump {
  const all = source.secrets()
  const dynamic = (list: readonly DumpedResource[]) =>
    list.filter((r) => keep(r.name)).map((r) => ({ name: r.name, ...common(r), secret: r.resource }))
  return dump(SecretsConfigDumpSchema, {
    staticSecrets: all.static
      .filter((r) => keep(r.name))
      .map((r) => ({ name: r.name, secret: r.resource, lastUpdated: time(r) })),
    dynamicActiveSecrets: dynamic(all.active),
    dynamicWarmingSecrets: dynamic(all.warming),
  })
}

function common(r: DumpedResource) {
  return {
    versionInfo: r.versionInfo,
    lastUpdated: time(r),
    errorState: failure(r.error),
    clientStatus: r.error ? ClientResourceStatus.NACKED : ClientResourceStatus.UNKNOWN,
  }
}

function time(r: DumpedResource): Timestamp {
  return timestampFromDate(r.lastUpdated)
}

function failure(error: DumpedError | undefined): MessageInitShape<typeof UpdateFailureStateSchema> | undefined {
  if (!error) return undefined
  return {
    details: error.details,
    versionInfo: error.versionInfo,
    lastUpdateAttempt: timestampFromDate(error.lastUpdateAttempt),
    failedConfiguration: error.failedConfiguration,
  }
}

/** This page's errors name no charset, unlike the others'. */
function refusal(body: string, status: number): AdminResponse {
  return { status, contentType: 'text/plain', body }
}
