// `listener.<address>.*` (envoy-contract §4.6).

import type { Counter, Gauge, Histogram, Scope } from '../observe/stats.ts'
import type { AdmitRefusal } from './connection-limits.ts'
import type { ListenerConfig } from './listener-config.ts'

export interface ListenerStats {
  readonly scope: Scope
  readonly cxTotal: Counter
  readonly cxDestroy: Counter
  readonly cxActive: Gauge
  readonly cxLength: Histogram
  readonly preCxActive: Gauge
  readonly preCxTimeout: Counter
  readonly noFilterChainMatch: Counter
  readonly filterError: Counter
  readonly filterRemoteClose: Counter
  readonly handshakeTimeout: Counter
  /** Connections over a limit. */
  readonly refused: Readonly<Record<AdmitRefusal, Counter>>
  readonly workerTotal: Counter
  readonly workerActive: Gauge
}

/** `listener.0.0.0.0_15006`, or with stat_prefix in the address's place. */
export function createListenerStats(config: ListenerConfig, root: Scope, workerIndex: number): ListenerStats {
  const scope = root.scope(`listener.${config.statPrefix || config.addresses[0]!.text.replaceAll(':', '_')}`)
  return listenerStatsOf(scope, scope.scope(`worker_${workerIndex}`))
}

/** `worker`: below `scope`, for the thread that counts. */
export function listenerStatsOf(scope: Scope, worker: Scope): ListenerStats {
  return {
    scope,
    cxTotal: scope.counter('downstream_cx_total'),
    cxDestroy: scope.counter('downstream_cx_destroy'),
    cxActive: scope.gauge('downstream_cx_active'),
    cxLength: scope.histogram('downstream_cx_length_ms', 'ms'),
    preCxActive: scope.gauge('downstream_pre_cx_active'),
    preCxTimeout: scope.counter('downstream_pre_cx_timeout'),
    noFilterChainMatch: scope.counter('no_filter_chain_match'),
    filterError: scope.counter('downstream_listener_filter_error'),
    filterRemoteClose: scope.counter('downstream_listener_filter_remote_close'),
    handshakeTimeout: scope.counter('downstream_cx_transport_socket_connect_timeout'),
    refused: {
      listener: scope.counter('downstream_cx_overflow'),
      global: scope.counter('downstream_global_cx_overflow'),
      overload: scope.counter('downstream_cx_overload_reject'),
    },
    workerTotal: worker.counter('downstream_cx_total'),
    workerActive: worker.gauge('downstream_cx_active'),
  }
}
