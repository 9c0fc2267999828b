// The ADS client's counters under Envoy's names (envoy-contract §3.5).

import { xxh64 } from '../../base/hash.ts'
import { type AdsStats, CDS_TYPE, LDS_TYPE } from '../../xds/index.ts'
import type { Scope } from '../observe/stats.ts'

/** CDS and LDS have scopes of their own; named types count with their cluster or route, which Envoy's users rarely read. */
const SCOPE: Readonly<Record<string, string>> = {
  [CDS_TYPE]: 'cluster_manager.cds',
  [LDS_TYPE]: 'listener_manager.lds',
}

export function adsStats(stats: Scope): AdsStats {
  return clientStats(stats, new Map(Object.entries(SCOPE).map(([typeUrl, name]) => [typeUrl, stats.scope(name)])))
}

/** Of a client with one subscription: `scope` has its stats and those of its connection. */
export function subscriptionStats(scope: Scope, typeUrl: string): AdsStats {
  for (const name of ['attempt', 'failure', 'rejected', 'success']) scope.counter(`update_${name}`)
  scope.counter('init_fetch_timeout')
  scope.gauge('version')
  scope.textReadout('version_text')
  return clientStats(scope, new Map([[typeUrl, scope]]))
}

function clientStats(stats: Scope, scopes: ReadonlyMap<string, Scope>): AdsStats {
  const controlPlane = stats.scope('control_plane')
  const connected = controlPlane.gauge('connected_state')
  const identifier = controlPlane.textReadout('identifier')
  const count = (typeUrl: string, name: string): void => scopes.get(typeUrl)?.counter(name).inc()
  return {
    updateAttempt: (typeUrl) => count(typeUrl, 'update_attempt'),
    updateSuccess: (typeUrl, version) => {
      count(typeUrl, 'update_success')
      const scope = scopes.get(typeUrl)
      scope?.gauge('version').set(Number(xxh64(version)))
      if (scope) scope.textReadout('version_text').value = version
    },
    updateRejected: (typeUrl) => count(typeUrl, 'update_rejected'),
    updateFailure: (typeUrl) => count(typeUrl, 'update_failure'),
    initFetchTimeout: (typeUrl) => count(typeUrl, 'init_fetch_timeout'),
    connected: (state) => connected.set(state ? 1 : 0),
    identifier: (text) => {
      identifier.value = text
    },
  }
}
