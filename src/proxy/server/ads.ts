// The ADS subscriptions of a proxy and their order: CDS → EDS → LDS → RDS (envoy-contract §3.3).

import { create } from '@bufbuild/protobuf'
import { ExtensionSchema, type Node, NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { Logger } from '../../base/logger.ts'
import {
  type AdsClient,
  CDS_TYPE,
  EDS_TYPE,
  LDS_TYPE,
  RDS_TYPE,
  type ResourceChange,
  SDS_TYPE,
} from '../../xds/index.ts'
import type { ExtensionRegistry } from '../config/extension-registry.ts'
import type { ClusterResources } from './clusters.ts'
import type { ListenerResources } from './listeners.ts'
import type { RouteResources } from './routes.ts'
import type { SecretResources } from './secrets.ts'
import { PROXY_VERSION } from './version.ts'

/** Envoy's names of our extension categories, as a control plane sees them in node.extensions. */
const CATEGORY: Readonly<Record<string, string>> = {
  listener_filter: 'envoy.filters.listener',
  network_filter: 'envoy.filters.network',
  http_filter: 'envoy.filters.http',
  transport_socket: 'envoy.transport_sockets.downstream',
  access_logger: 'envoy.access_loggers',
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
  readonly secrets: SecretResources
}

/** Which types the bootstrap asks for over ADS, and how long the first answer is waited for. */
export interface AdsTypes {
  readonly cdsTimeoutMs: number | null
  readonly ldsTimeoutMs: number | null
}

/**
 * Subscribes to EDS and RDS (names follow later) and to CDS; to LDS once the first clusters are warm. Resolves when
 * the first listeners are warm too. Timeouts stand in for what does not come.
 */
export async function subscribeAll(
  ads: AdsClient,
  resources: AdsResources,
  types: AdsTypes,
  log: Logger,
): Promise<void> {
  const { clusters, listeners } = resources
  if (types.cdsTimeoutMs !== null) {
    await firstAnswer((done) => {
      ads.subscribe(
        CDS_TYPE,
        { wildcard: true, initialFetchTimeoutMs: types.cdsTimeoutMs! },
        {
          onUpdate: (change) => clusters.update(change.added, change.removed, change.version).finally(done),
          onTimeout: done,
        },
      )
    })
    await clusters.settled()
    log.info('cm init: all clusters initialized')
  }
  if (types.ldsTimeoutMs !== null) {
    await firstAnswer((done) => {
      ads.subscribe(
        LDS_TYPE,
        { wildcard: true, initialFetchTimeoutMs: types.ldsTimeoutMs! },
        {
          onUpdate: (change) => listeners.update(change.added, change.removed, change.version).finally(done),
          onTimeout: done,
        },
      )
    })
    await listeners.settled()
  }
}

/** Makes EDS, SDS and RDS askable; before any cluster or listener is parsed. */
export function subscribeNamed(ads: AdsClient, resources: AdsResources): void {
  const { clusters, routes, secrets } = resources
  // How long a cluster or listener waits is its own matter (warming.ts): the subscription itself waits for ever.
  const options = { initialFetchTimeoutMs: 0 }
  clusters.eds = ads.subscribe(EDS_TYPE, options, {
    onUpdate: (change: ResourceChange) => clusters.updateEndpoints(change.added),
  })
  secrets.ads = ads.subscribe(SDS_TYPE, options, { onUpdate: (change: ResourceChange) => secrets.update(change.added) })
  routes.rds = ads.subscribe(RDS_TYPE, options, { onUpdate: (change: ResourceChange) => routes.update(change.added) })
}

function firstAnswer(subscribe: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) => subscribe(resolve))
}
