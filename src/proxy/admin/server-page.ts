// /server_info, /contention, /ready, /memory, /runtime, /certs, /init_dump, /hot_restart_version.

import { create, toJson } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { CertificatesSchema } from '../../api/gen/envoy/admin/v3/certs_pb.js'
import { UnreadyTargetsDumpsSchema } from '../../api/gen/envoy/admin/v3/init_dump_pb.js'
import { MemorySchema } from '../../api/gen/envoy/admin/v3/memory_pb.js'
import { ServerInfo_State, ServerInfoSchema } from '../../api/gen/envoy/admin/v3/server_info_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { type AdminRequest, type AdminResponse, json, OK, text } from './response.ts'
import type { AdminSource } from './source.ts'

/** Prints every scalar, also at its default, as Envoy does for these messages. */
const ALL_FIELDS = { registry: typeRegistry, useProtoFieldName: true, alwaysEmitImplicit: true }

/** We never hand sockets to a successor process: Envoy's word for --disable-hot-restart. */
const HOT_RESTART_VERSION = 'disabled'

export function ready(_request: AdminRequest, source: AdminSource): AdminResponse {
  const state = source.state()
  return text(`${state}\n`, state === 'LIVE' ? 200 : 503)
}

/** Threads share no locks here, so there is nothing to trace; Envoy says this where tracing is off. */
export function contention(): AdminResponse {
  return text('Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing.')
}

export function serverInfo(_request: AdminRequest, source: AdminSource): AdminResponse {
  const seconds = Math.floor((Date.now() - source.startTime.getTime()) / 1000)
  const message = create(ServerInfoSchema, {
    version: source.version,
    state: ServerInfo_State[source.state()],
    uptimeCurrentEpoch: durationFromMs(seconds * 1000),
    uptimeAllEpochs: durationFromMs(seconds * 1000),
    hotRestartVersion: HOT_RESTART_VERSION,
    commandLineOptions: source.commandLineOptions,
    node: source.node,
  })
  return json(toJson(ServerInfoSchema, message, ALL_FIELDS))
}

/** Node's heap under Envoy's words: allocated = used heap and buffers, the rest as V8 and the kernel report it. */
export function memory(): AdminResponse {
  const usage = process.memoryUsage()
  const message = create(MemorySchema, {
    allocated: BigInt(usage.heapUsed + usage.external),
    heapSize: BigInt(usage.heapTotal + usage.external),
    pageheapFree: BigInt(usage.heapTotal - usage.heapUsed),
    totalPhysicalBytes: BigInt(usage.rss),
  })
  return json(toJson(MemorySchema, message, ALL_FIELDS))
}

export function runtime(_request: AdminRequest, source: AdminSource): AdminResponse {
  const { layers, entries } = source.runtime()
  return json({
    layers,
    entries: Object.fromEntries(
      Object.entries(entries).map(([key, entry]) => [
        key,
        { layer_values: entry.layerValues, final_value: entry.finalValue },
      ]),
    ),
  })
}

export function modifyRuntime(request: AdminRequest, source: AdminSource): AdminResponse {
  if (request.query.size === 0) {
    return text(
      'usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n\nuse an empty value to remove a previously added override',
      400,
    )
  }
  return source.modifyRuntime(new Map(request.query)) ? OK : text('No admin layer specified', 503)
}

export function certs(_request: AdminRequest, source: AdminSource): AdminResponse {
  return json(toJson(CertificatesSchema, source.certificates(), ALL_FIELDS))
}

/** `?mask=listener` keeps the targets of managers of that kind. */
export function initDump(request: AdminRequest, source: AdminSource): AdminResponse {
  const mask = request.query.get('mask')
  const targets = source
    .unreadyTargets()
    .filter((manager) => !mask || manager.name.toLowerCase().includes(mask.toLowerCase()))
  const message = create(UnreadyTargetsDumpsSchema, {
    unreadyTargetsDumps: targets.map(({ name, targets: names }) => ({ name, targetNames: [...names] })),
  })
  return json(toJson(UnreadyTargetsDumpsSchema, message, { useProtoFieldName: true }))
}

export function hotRestartVersion(): AdminResponse {
  return text(HOT_RESTART_VERSION)
}
