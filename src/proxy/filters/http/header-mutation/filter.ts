// envoy.filters.http.header_mutation: the filter's mutations, then those of the route's levels from the most specific; or
// the other way round among the levels where the most specific is to win.

import type { WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, FilterTrailersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { HeaderMutations } from '../../../route/header-mutation.ts'
import { QueryMutation } from '../../../route/query-mutation.ts'
import type { StreamInfo } from '../../../stream-info.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { HeaderMutationConfig, MutationLists } from './config.ts'

const FILTER = 'envoy.filters.http.header_mutation'

interface Compiled {
  readonly request: readonly HeaderMutations[]
  readonly response: readonly HeaderMutations[]
  readonly query: readonly QueryMutation[]
  readonly requestTrailers: readonly HeaderMutations[]
  readonly responseTrailers: readonly HeaderMutations[]
}

function compile(lists: MutationLists): Compiled {
  return {
    request: lists.request.map((one) => new HeaderMutations(one)),
    response: lists.response.map((one) => new HeaderMutations(one)),
    query: lists.query.map((one) => new QueryMutation(one)),
    requestTrailers: lists.requestTrailers.map((one) => new HeaderMutations(one)),
    responseTrailers: lists.responseTrailers.map((one) => new HeaderMutations(one)),
  }
}

class Shared {
  readonly own: Compiled
  private readonly mostSpecificWins: boolean
  private readonly ofRoutes = new WeakMap<readonly unknown[], readonly Compiled[]>()

  constructor(config: HeaderMutationConfig) {
    this.own = compile(config.mutations)
    this.mostSpecificWins = config.mostSpecificWins
  }

  /** `levels` from the least specific. */
  levels(levels: readonly unknown[]): readonly Compiled[] {
    let compiled = this.ofRoutes.get(levels)
    if (!compiled) {
      const list = (levels as readonly MutationLists[]).map(compile)
      compiled = this.mostSpecificWins ? list : list.reverse()
      this.ofRoutes.set(levels, compiled)
    }
    return compiled
  }
}

export function createHeaderMutationFilter(config: HeaderMutationConfig, _context: WorkerContext): HttpFilterFactory {
  const shared = new Shared(config)
  return (callbacks) => callbacks.addStreamFilter(new HeaderMutationFilter(shared))
}

class HeaderMutationFilter extends PassThroughFilter {
  private readonly shared: Shared
  private requestHeaders: HeaderMap | null = null
  private responseHeaders: HeaderMap | null = null

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  private levels(): readonly Compiled[] {
    return this.shared.levels(this.callbacks.route()?.perFilterConfigs(FILTER) ?? NONE)
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    this.requestHeaders = headers
    const info = this.callbacks.streamInfo
    const { own } = this.shared
    apply(own.request, headers, info, headers, null)
    for (const one of own.query) one.apply(headers, info)
    for (const level of this.levels()) {
      apply(level.request, headers, info, headers, null)
      for (const one of level.query) one.apply(headers, info)
    }
    return FilterHeadersStatus.Continue
  }

  override decodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    const info = this.callbacks.streamInfo
    apply(this.shared.own.requestTrailers, trailers, info, this.requestHeaders, null)
    for (const level of this.levels()) apply(level.requestTrailers, trailers, info, this.requestHeaders, null)
    return FilterTrailersStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const info = this.callbacks.streamInfo
    // None in the answer to what was no request.
    this.requestHeaders ??= this.encoderCallbacks.requestHeaders
    apply(this.shared.own.response, headers, info, this.requestHeaders, headers)
    // A local reply before routing has no route to ask.
    if (this.requestHeaders !== null) {
      for (const level of this.levels()) apply(level.response, headers, info, this.requestHeaders, headers)
    }
    this.responseHeaders = headers
    return FilterHeadersStatus.Continue
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    const info = this.callbacks.streamInfo
    const { requestHeaders, responseHeaders } = this
    apply(this.shared.own.responseTrailers, trailers, info, requestHeaders, responseHeaders)
    for (const level of this.levels()) apply(level.responseTrailers, trailers, info, requestHeaders, responseHeaders)
    return FilterTrailersStatus.Continue
  }
}

const NONE: readonly unknown[] = []

function apply(
  list: readonly HeaderMutations[],
  headers: HeaderMap,
  info: StreamInfo,
  request: HeaderMap | null,
  response: HeaderMap | null,
): void {
  for (let i = 0; i < list.length; i++) list[i]!.apply(headers, info, request, response)
}
