// --mode validate: parses and builds everything, touches no network (envoy-contract §1.1).

import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { createParseContext } from '../config/extension-registry.ts'
import { registerExtensions } from '../filters/register.ts'
import { parseListener } from '../network/listener-config.ts'
import { parseStatsConfig } from '../observe/stats-settings.ts'
import { parseCluster } from '../upstream/parse-cluster.ts'
import { refuseUnsupportedBootstrap } from './bootstrap-fields.ts'
import { decodeResource, staticResource } from './resource.ts'
import { parseRuntimeLayers } from './runtime.ts'

/** Throws ConfigError for the first thing that would keep the bootstrap from being served. */
export function validateProxy(bootstrap: Bootstrap): void {
  refuseUnsupportedBootstrap(bootstrap)
  parseStatsConfig(bootstrap.statsConfig)
  parseRuntimeLayers(bootstrap)
  const registry = registerExtensions()
  for (const [i, cluster] of (bootstrap.staticResources?.clusters ?? []).entries()) {
    const message = decodeResource(ClusterSchema, staticResource(ClusterSchema, cluster.name, cluster))
    parseCluster(message, createParseContext(registry, undefined, `static_resources.clusters[${i}]`))
  }
  for (const [i, listener] of (bootstrap.staticResources?.listeners ?? []).entries()) {
    const message = decodeResource(ListenerSchema, staticResource(ListenerSchema, listener.name, listener))
    parseListener(message, createParseContext(registry, undefined, `static_resources.listeners[${i}]`), registry)
  }
}
