// SDS over gRPC: one stream for each secret and source, as Envoy opens them (envoy-contract §16.4).

import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import { AdsClient, SDS_TYPE } from '../../xds/index.ts'
import { secretName } from '../config/secret-key.ts'
import type { Scope } from '../observe/stats.ts'
import { subscriptionStats } from './ads-stats.ts'
import { type FileHandler, type FileSources, filePath } from './file-source.ts'
import { type FindCluster, grpcTransport, isDelta } from './grpc-transport.ts'
import { fetchTimeoutMs, type IncomingResource, joinErrors } from './resource.ts'
import type { SdsSubscribe } from './secrets.ts'

/** Clusters of the bootstrap and of CDS. */
export interface SdsClusters {
  readonly find: FindCluster
  /** Calls back with the name of each cluster that was replaced or removed; returns what ends it. */
  onChange(callback: (name: string) => void): () => void
}

/** `api_config_source` of type GRPC or DELTA_GRPC, or a file; other sources throw ConfigError. */
export function createSdsSubscribe(
  clusters: SdsClusters,
  node: () => Node,
  files: FileSources,
  log: Logger,
  stats: Scope,
): SdsSubscribe {
  return (key, source, onSecret, counted) => {
    const name = secretName(key)
    const path = filePath(source)
    if (path !== null) {
      const take: FileHandler = async (resources) => {
        const secret = resources.find((resource) => resource.name === name)
        if (secret !== undefined) return onSecret(secret)
        counted.rejected(key)
        return `there is no secret '${name}' in it`
      }
      return files.use(`secret ${name}`, path, take, {
        attempt: () => counted.attempt(path),
        failure: () => counted.failure(path),
      })
    }
    const specifier = source.configSourceSpecifier
    if (specifier.case !== 'apiConfigSource')
      throw new ConfigError(
        'sds_config',
        `secret '${name}': only api_config_source and path_config_source are supported by this proxy`,
      )
    const scope = stats.scope(`sds.${name}`)
    const controlPlane = scope.scope('control_plane')
    scope.counter('key_rotation_failed')
    const delta = isDelta(specifier.value)
    const client = new AdsClient({
      transport: grpcTransport(specifier.value, clusters.find, 'sds_config.api_config_source', 'may come later'),
      node: node(),
      mode: delta ? 'delta' : 'sotw',
      method: `/envoy.service.secret.v3.SecretDiscoveryService/${delta ? 'DeltaSecrets' : 'StreamSecrets'}`,
      log,
      nodeOnFirstMessageOnly: specifier.value.setNodeOnFirstMessageOnly,
      stats: subscriptionStats(scope, controlPlane, SDS_TYPE),
    })
    client.subscribe(
      SDS_TYPE,
      { names: [name], initialFetchTimeoutMs: fetchTimeoutMs(source) },
      {
        onUpdate: (change) => takeAll(change.added, name, onSecret),
      },
    )
    client.start()
    const target = specifier.value.grpcServices[0]?.targetSpecifier
    // Streams end with the connections of a cluster that is replaced (Envoy).
    const unwatch = clusters.onChange((changed) => {
      if (target?.case === 'envoyGrpc' && target.value.clusterName === changed)
        client.interrupt(`cluster '${changed}' was replaced or removed`)
    })
    return () => {
      unwatch()
      client.close()
      controlPlane.release()
      scope.release()
    }
  }
}

/** Why what is called `name` is refused, or null. */
async function takeAll(
  resources: readonly IncomingResource[],
  name: string,
  take: (resource: IncomingResource) => Promise<string | null>,
): Promise<string | null> {
  const errors: string[] = []
  for (const resource of resources) {
    const reason = resource.name === name ? await take(resource) : null
    if (reason !== null) errors.push(reason)
  }
  return joinErrors(errors)
}
