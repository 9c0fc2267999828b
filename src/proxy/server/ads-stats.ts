// What an xDS client counts under Envoy's names (envoy-contract §3.5): its connection, and whole types. Subscriptions to
// single resources count where their resources are applied (subscription-stats.ts).

import { type AdsStats, CDS_TYPE, LDS_TYPE } from '../../xds/index.ts'
import type { Scope } from '../observe/stats.ts'
import { type NamedSubscriptions, SubscriptionStats } from './subscription-stats.ts'

/** `asked`: the types that are subscribed whole. `named`: subscriptions by name, by type URL, which fail with the stream. */
export function adsStats(
  stats: Scope,
  asked: { readonly cds: boolean; readonly lds: boolean },
  named: ReadonlyMap<string, NamedSubscriptions>,
): AdsStats {
  const whole = new Map<string, SubscriptionStats>()
  if (asked.cds) whole.set(CDS_TYPE, new SubscriptionStats(stats.scope('cluster_manager.cds')))
  if (asked.lds) whole.set(LDS_TYPE, new SubscriptionStats(stats.scope('listener_manager.lds')))
  return clientStats(stats.scope('control_plane'), whole, named)
}

/** Of a client with one subscription: `scope` has its stats, `controlPlane` those of its connection. */
export function subscriptionStats(scope: Scope, controlPlane: Scope, typeUrl: string): AdsStats {
  return clientStats(controlPlane, new Map([[typeUrl, new SubscriptionStats(scope)]]), new Map())
}

function clientStats(
  controlPlane: Scope,
  whole: ReadonlyMap<string, SubscriptionStats>,
  named: ReadonlyMap<string, NamedSubscriptions>,
): AdsStats {
  const connected = controlPlane.gauge('connected_state')
  const identifier = controlPlane.textReadout('identifier')
  return {
    updateAttempt: (typeUrl) => whole.get(typeUrl)?.attempt(),
    updateSuccess: (typeUrl, version, startedMs) => whole.get(typeUrl)?.success(version, startedMs),
    updateRejected: (typeUrl) => whole.get(typeUrl)?.rejected(),
    updateFailure: (typeUrl) => {
      whole.get(typeUrl)?.failure()
      named.get(typeUrl)?.failure(null)
    },
    initFetchTimeout: (typeUrl) => whole.get(typeUrl)?.fetchTimeout(),
    connected: (state) => connected.set(state ? 1 : 0),
    identifier: (text) => {
      identifier.value = text
    },
  }
}
