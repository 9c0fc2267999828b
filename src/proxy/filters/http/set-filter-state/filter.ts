import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { FilterStateValues } from '../../common/filter-state-values.ts'
import { PassThroughDecoderFilter } from '../pass-through.ts'
import type { SetFilterStateConfig } from './config.ts'

const FILTER = 'envoy.filters.http.set_filter_state'

class Shared {
  readonly config: SetFilterStateConfig
  readonly own: FilterStateValues
  private readonly ofRoutes = new WeakMap<SetFilterStateConfig, FilterStateValues>()

  constructor(config: SetFilterStateConfig) {
    this.config = config
    this.own = new FilterStateValues(config.onRequestHeaders)
  }

  values(config: SetFilterStateConfig): FilterStateValues {
    let values = this.ofRoutes.get(config)
    if (!values) this.ofRoutes.set(config, (values = new FilterStateValues(config.onRequestHeaders)))
    return values
  }
}

export function createSetFilterStateFilter(config: SetFilterStateConfig): HttpFilterFactory {
  const shared = new Shared(config)
  return (callbacks) => callbacks.addStreamDecoderFilter(new SetFilterStateFilter(shared))
}

class SetFilterStateFilter extends PassThroughDecoderFilter {
  private readonly shared: Shared

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { callbacks, shared } = this
    const { streamInfo } = callbacks
    const context = {
      info: streamInfo,
      requestHeaders: headers,
      responseHeaders: null,
      responseTrailers: null,
      localReplyBody: '',
      type: 'NotSet',
    } as const
    let clear = shared.config.clearRouteCache
    shared.own.apply(context, streamInfo.filterState)
    const levels = (callbacks.route()?.perFilterConfigs(FILTER) ?? []) as readonly SetFilterStateConfig[]
    for (const level of levels) {
      shared.values(level).apply(context, streamInfo.filterState)
      clear ||= level.clearRouteCache
    }
    if (clear) callbacks.clearRouteCache()
    return FilterHeadersStatus.Continue
  }
}
