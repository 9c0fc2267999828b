// envoy.filters.http.stateful_session: a client that comes back reaches the host that served it before. The address is the
// client's own to keep; a cluster takes it as a wish (`envoy.upstream.override_host`), or as the only choice when strict.

import type { WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { Flag } from '../../../stream-info.ts'
import { OVERRIDE_HOST_KEY, type OverrideHost } from '../../../upstream/override-host.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { StatefulSessionConfig, StatefulSessionRoute } from './config.ts'
import { sessionAddress, tellSession } from './session.ts'

interface SessionStats {
  readonly routed: Counter
  readonly failedOpen: Counter
  readonly failedClosed: Counter
  readonly noSession: Counter
}

export function createStatefulSessionFilter(
  config: StatefulSessionConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  let stats: SessionStats | null = null
  if (config.statPrefix !== '') {
    const scope = context.stats.scope(`http.${statPrefix}.stateful_session.${config.statPrefix}`)
    stats = {
      routed: scope.counter('routed'),
      failedOpen: scope.counter('failed_open'),
      failedClosed: scope.counter('failed_closed'),
      noSession: scope.counter('no_session'),
    }
  }
  return (callbacks) => callbacks.addStreamFilter(new StatefulSessionFilter(config, stats))
}

const nowS = (): number => Math.floor(Date.now() / 1000)

class StatefulSessionFilter extends PassThroughFilter {
  private readonly own: StatefulSessionConfig
  private readonly ownStats: SessionStats | null
  /** null = off for this request. */
  private config: StatefulSessionConfig | null = null
  private stats: SessionStats | null = null
  /** As the client named it; undefined = no session. */
  private address: string | null | undefined = undefined

  constructor(config: StatefulSessionConfig, stats: SessionStats | null) {
    super()
    this.own = config
    this.ownStats = stats
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const route = this.callbacks.perFilterConfig<StatefulSessionRoute>()
    const config = route === undefined ? this.own : route
    if (config === null) return FilterHeadersStatus.Continue
    this.config = config
    // What routes configure is not counted, as in Envoy.
    this.stats = route === undefined ? this.ownStats : null
    if (config.place !== null) this.address = sessionAddress(config.place, headers, nowS())
    if (this.address) {
      const wish: OverrideHost = {
        address: this.address,
        strict: config.strict,
        statusWhenMissing: config.statusOnMissingHost,
        missing: false,
      }
      this.callbacks.streamInfo.filterState.set(OVERRIDE_HOST_KEY, wish)
    }
    return FilterHeadersStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { config, address, stats } = this
    if (config === null) return FilterHeadersStatus.Continue
    const { upstreamHost, responseFlags } = this.encoderCallbacks.streamInfo
    if (address === undefined) {
      if (upstreamHost !== null) stats?.noSession.inc()
    } else if (upstreamHost === null) {
      if (config.strict && (responseFlags & Flag.UH) !== 0) stats?.failedClosed.inc()
    } else if (upstreamHost.address.text === address) stats?.routed.inc()
    else {
      tellSession(config.place!, upstreamHost.address.text, headers, nowS())
      if (!config.strict) stats?.failedOpen.inc()
    }
    return FilterHeadersStatus.Continue
  }
}
