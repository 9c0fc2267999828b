// envoy.filters.http.set_filter_state: filter state by formats of the request; of the filter, then of the route's levels.

import {
  type Config,
  ConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state_pb.js'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { type FilterStateData, parseFilterStateValue } from '../../common/filter-state-values.ts'
import { createSetFilterStateFilter } from './filter.ts'

export interface SetFilterStateConfig {
  readonly onRequestHeaders: readonly FilterStateData[]
  /** The route is chosen again afterwards. */
  readonly clearRouteCache: boolean
}

const parse = (message: unknown, context: ParseContext): SetFilterStateConfig => {
  const { onRequestHeaders, clearRouteCache } = message as Config
  return {
    onRequestHeaders: onRequestHeaders.map((value, i) =>
      parseFilterStateValue(value, context.at(`on_request_headers[${i}]`)),
    ),
    clearRouteCache,
  }
}

export const setFilterStateFilter: HttpFilterExtension<SetFilterStateConfig, SetFilterStateConfig> = {
  name: 'envoy.filters.http.set_filter_state',
  desc: ConfigSchema,
  parse,
  routeDesc: ConfigSchema,
  parseRoute: parse,
  create: createSetFilterStateFilter,
}
