// envoy.filters.http.csrf: requests that change something must come from the host that they are for, or from an origin
// that is named. Origins are compared as `host:port`, letter by letter.

import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { inFraction } from '../../../route/route-match.ts'
import { compileStringMatcher, type StringMatch } from '../../../route/string-matcher.ts'
import { PassThroughDecoderFilter } from '../pass-through.ts'
import type { CsrfConfig } from './config.ts'

class Shared {
  readonly runtime: RuntimeSnapshot
  readonly missing: Counter
  readonly invalid: Counter
  readonly valid: Counter
  private readonly origins = new WeakMap<CsrfConfig, readonly StringMatch[]>()

  constructor(context: WorkerContext, statPrefix: string) {
    const scope = context.stats.scope(`http.${statPrefix}.csrf`)
    this.runtime = context.runtime
    this.missing = scope.counter('missing_source_origin')
    this.invalid = scope.counter('request_invalid')
    this.valid = scope.counter('request_valid')
  }

  /** Policies of routes live as long as their table: each is compiled once. */
  named(config: CsrfConfig, origin: string): boolean {
    let origins = this.origins.get(config)
    if (!origins) this.origins.set(config, (origins = config.additionalOrigins.map(compileStringMatcher)))
    for (let i = 0; i < origins.length; i++) if (origins[i]!(origin)) return true
    return false
  }
}

export function createCsrfFilter(config: CsrfConfig, context: WorkerContext, statPrefix: string): HttpFilterFactory {
  const shared = new Shared(context, statPrefix)
  return (callbacks) => callbacks.addStreamDecoderFilter(new CsrfFilter(config, shared))
}

class CsrfFilter extends PassThroughDecoderFilter {
  private readonly own: CsrfConfig
  private readonly shared: Shared

  constructor(config: CsrfConfig, shared: Shared) {
    super()
    this.own = config
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    if (!changes(headers.method)) return FilterHeadersStatus.Continue
    const { shared, callbacks } = this
    const config = callbacks.perFilterConfig<CsrfConfig>() ?? this.own
    const { random } = callbacks.streamInfo
    const enforced = inFraction(config.enabled, shared.runtime, random)
    if (!enforced && (config.shadowEnabled === null || !inFraction(config.shadowEnabled, shared.runtime, random)))
      return FilterHeadersStatus.Continue
    const source = sourceOf(headers)
    if (source === '') shared.missing.inc()
    else if (source === hostAndPort(headers.authority) || shared.named(config, source)) {
      shared.valid.inc()
      return FilterHeadersStatus.Continue
    } else shared.invalid.inc()
    if (!enforced) return FilterHeadersStatus.Continue
    callbacks.sendLocalReply(403, 'Invalid origin', null, null, 'csrf_origin_mismatch')
    return FilterHeadersStatus.StopIteration
  }
}

function changes(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'DELETE' || method === 'PATCH'
}

/** Where the request was made; '' = it does not say. A browser that hides the origin says `null`. */
function sourceOf(headers: HeaderMap): string {
  const origin = headers.get('origin')
  if (origin === 'null') return ''
  return hostAndPort(origin ? origin : (headers.get('referer') ?? ''))
}

/** Of a URL; what is none is taken as it is. */
function hostAndPort(text: string): string {
  const scheme = text.indexOf('://')
  if (scheme < 0) return text
  let end = scheme + 3
  while (end < text.length && !'/?#'.includes(text[end]!)) end++
  return text.slice(scheme + 3, end)
}
