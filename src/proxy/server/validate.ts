// --mode validate: parses and builds everything, touches no network (envoy-contract §1.1).

import { existsSync } from 'node:fs'
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import { createParseContext, noDependencies } from '../config/extension-registry.ts'
import { registerExtensions } from '../filters/register.ts'
import { parseListener } from '../network/listener-config.ts'
import { parseStatsConfig } from '../observe/stats-settings.ts'
import { parseCluster } from '../upstream/parse-cluster.ts'
import { refuseUnsupportedBootstrap } from './bootstrap-fields.ts'
import { filePath } from './file-source.ts'
import { findStatic, grpcTransport } from './grpc-transport.ts'
import { parseSecret } from './parse-secret.ts'
import { decodeResource, staticResource } from './resource.ts'
import { parseRuntimeLayers } from './runtime.ts'

/** Throws ConfigError for the first thing that would keep the bootstrap from being served. */
export function validateProxy(bootstrap: Bootstrap): void {
  refuseUnsupportedBootstrap(bootstrap)
  parseStatsConfig(bootstrap.statsConfig)
  parseRuntimeLayers(bootstrap)
  const registry = registerExtensions()
  registry.defaultTracer = bootstrap.tracing?.http
  const { secrets = [], clusters = [], listeners = [] } = bootstrap.staticResources ?? {}
  const find = (name: string) => clusters.find((cluster) => cluster.name === name)
  const ads = bootstrap.dynamicResources?.adsConfig
  if (ads) grpcTransport(ads, findStatic(bootstrap), 'dynamic_resources.ads_config', 'needed')
  const dependencies = noDependencies()
  for (const [i, secret] of secrets.entries()) {
    try {
      parseSecret(staticResource(SecretSchema, secret.name, secret), secret.name)
    } catch (error) {
      throw new ConfigError(`static_resources.secrets[${i}]`, errorText(error), { cause: error })
    }
  }
  for (const [i, cluster] of clusters.entries()) {
    const message = decodeResource(ClusterSchema, staticResource(ClusterSchema, cluster.name, cluster))
    parseCluster(message, createParseContext(registry, dependencies, `static_resources.clusters[${i}]`))
  }
  for (const [i, listener] of listeners.entries()) {
    const message = decodeResource(ListenerSchema, staticResource(ListenerSchema, listener.name, listener))
    parseListener(message, createParseContext(registry, dependencies, `static_resources.listeners[${i}]`), registry)
  }
  for (const [name, field] of dependencies.clusters)
    if (!find(name)) throw new ConfigError(field, `route: unknown cluster '${name}'`)
  for (const [key, source] of dependencies.secrets)
    if (source === undefined && !secrets.some((secret) => secret.name === key))
      throw new ConfigError('', `unknown static secret '${key}'; add it to static_resources.secrets`)
  const routes = [...dependencies.routes.values()].map(({ source }) => source)
  const discovered = [...dependencies.extensions.values()].map(({ source }) => source)
  for (const source of [...routes, ...dependencies.secrets.values(), ...discovered]) {
    const file = source && filePath(source)
    if (typeof file === 'string' && !existsSync(file))
      throw new ConfigError('', `paths must refer to an existing path in the system: '${file}' does not exist`)
  }
  const subscribes =
    dependencies.routes.size > 0 || discovered.length > 0 || [...dependencies.secrets.values()].some((source) => source)
  if (subscribes || clusters.some((cluster) => cluster.edsClusterConfig)) checkNode(bootstrap)
}

/** Every subscription says who asks. */
function checkNode({ node }: Bootstrap): void {
  if (node?.id && node.cluster) return
  throw new ConfigError(
    'node',
    "node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and --service-cluster options.",
  )
}
