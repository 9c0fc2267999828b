// The ADS subscriptions of a proxy and their order: CDS → EDS → LDS → RDS (envoy-contract §3.3).

import { create } from '@bufbuild/protobuf'
import { ExtensionSchema, type Node, NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { Logger } from '../../base/logger.ts'
import { type AdsClient, ECDS_TYPE, EDS_TYPE, RDS_TYPE, type ResourceChange, SDS_TYPE } from '../../xds/index.ts'
import type { ExtensionRegistry } from '../config/extension-registry.ts'
import type { ClusterResources } from './clusters.ts'
import type { ExtensionResources } from './extensions.ts'
import type { FileHandler, FileSources } from './file-source.ts'
import type { ListenerResources } from './listeners.ts'
import type { IncomingResource } from './resource.ts'
import type { RouteResources } from './routes.ts'
import type { SecretResources } from './secrets.ts'
import type { SubscriptionStats } from './subscription-stats.ts'
import { PROXY_VERSION } from './version.ts'

/** Envoy's names of our extension categories, as a control plane sees them in node.extensions. */
const CATEGORY: Readonly<Record<string, string>> = {
  listener_filter: 'envoy.filters.listener',
  network_filter: 'envoy.filters.network',
  http_filter: 'envoy.filters.http',
  transport_socket: 'envoy.transport_sockets.downstream',
  access_logger: 'envoy.access_loggers',
  upstream_http_filter: 'envoy.filters.http.upstream',
  upstream_options: 'envoy.upstream_options',
  cluster_type: 'envoy.clusters',
  load_balancing_policy: 'envoy.load_balancing_policies',
  retry_host_predicate: 'envoy.retry_host_predicates',
  retry_priority: 'envoy.retry_priorities',
  request_id: 'envoy.request_id',
}

/** The node of the bootstrap with what this build can do. */
export function describeNode(node: Node | undefined, registry: ExtensionRegistry): Node {
  return {
    ...(node ?? create(NodeSchema)),
    userAgentName: 'envoy',
    userAgentVersionType: { case: 'userAgentVersion', value: PROXY_VERSION },
    extensions: registry
      .all()
      .map(({ category, name, typeName }) =>
        create(ExtensionSchema, { name, category: CATEGORY[category] ?? category, typeUrls: [typeName] }),
      ),
    clientFeatures: ['envoy.lb.does_not_support_overprovisioning', 'envoy.lrs.supports_send_all_clusters'],
  }
}

export interface AdsResources {
  readonly clusters: ClusterResources
  readonly listeners: ListenerResources
  readonly routes: RouteResources
  readonly extensions: ExtensionResources
  readonly secrets: SecretResources
}

/**
 * Follows CDS, then, once the first clusters are warm, LDS. Resolves when the first listeners are warm too. Timeouts
 * stand in for what does not come. null = the bootstrap does not ask for that type.
 */
export async function followAll(
  resources: AdsResources,
  sources: { readonly cds: ResourceFeed | null; readonly lds: ResourceFeed | null },
  log: Logger,
): Promise<void> {
  const { clusters, listeners } = resources
  if (sources.cds !== null) {
    await sources.cds((added, removed, version) => clusters.update(added, removed, version))
    await clusters.settled()
    log.info('cm init: all clusters initialized')
  }
  if (sources.lds !== null) {
    await sources.lds((added, removed, version) => listeners.update(added, removed, version))
    await listeners.settled()
  }
}

/** Applies one update of a whole type; returns why it is refused, or null. */
type ApplyUpdate = (
  added: readonly IncomingResource[],
  removed: readonly string[],
  version: string,
) => Promise<string | null>

/** Delivers updates from now on; resolves with the first one, or when it is waited for no longer. */
export type ResourceFeed = (apply: ApplyUpdate) => Promise<void>

export function adsFeed(ads: AdsClient, typeUrl: string, initialFetchTimeoutMs: number): ResourceFeed {
  return (apply) =>
    new Promise((done) => {
      ads.subscribe(
        typeUrl,
        { wildcard: true, initialFetchTimeoutMs },
        {
          onUpdate: (change) => apply(change.added, change.removed, change.version).finally(done),
          onTimeout: () => done(),
        },
      )
    })
}

/** What a file no longer holds is removed. */
export function fileFeed(files: FileSources, kind: string, path: string, stats: SubscriptionStats): ResourceFeed {
  stats.attempt()
  return (apply) =>
    new Promise((done) => {
      let names: readonly string[] = []
      const take: FileHandler = async (resources, version) => {
        const startedMs = performance.now()
        const now = resources.map((resource) => resource.name)
        const removed = names.filter((name) => !now.includes(name))
        const reason = await apply(resources, removed, version)
        if (reason === null) stats.success(version, startedMs)
        else stats.rejected()
        names = now
        done()
        return reason
      }
      files.use(kind, path, take, stats)
    })
}

/** Makes EDS, SDS, RDS and ECDS askable; before any cluster or listener is parsed. */
export function subscribeNamed(ads: AdsClient, resources: AdsResources): void {
  const { clusters, routes, secrets, extensions } = resources
  // How long a cluster or listener waits is its own matter (warming.ts): the subscription itself waits for ever.
  const options = { initialFetchTimeoutMs: 0 }
  clusters.eds = ads.subscribe(EDS_TYPE, options, {
    onUpdate: (change: ResourceChange) => clusters.updateEndpoints(change.added),
  })
  secrets.ads = ads.subscribe(SDS_TYPE, options, { onUpdate: (change: ResourceChange) => secrets.update(change.added) })
  extensions.ecds = ads.subscribe(ECDS_TYPE, options, {
    onUpdate: (change: ResourceChange) => extensions.update(change.added, change.removed),
  })
  routes.rds = ads.subscribe(RDS_TYPE, options, { onUpdate: (change: ResourceChange) => routes.update(change.added) })
}
