// envoy.filters.http.header_to_metadata: headers and cookies become dynamic metadata, for subset balancers, RBAC, rate
// limits and logs.

import { fromBinary, toJson } from '@bufbuild/protobuf'
import { ValueSchema } from '@bufbuild/protobuf/wkt'
import type { WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory, type StreamFilterCallbacks } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { compileRegexSubstitution } from '../../../route/regex.ts'
import { cookieValue } from '../../../route/request-path.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { HeaderToMetadataConfig, MetadataRule, ToMetadata } from './config.ts'

/** A longer value is none. */
const MAX_VALUE_BYTES = 8 * 1024
const NUMBER = /^[+-]?(0x[0-9a-f]+|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)$/i

class DirectionStats {
  readonly processed: Counter
  readonly added: Counter
  readonly notFound: Counter

  constructor(scope: { counter(name: string): Counter }, direction: 'request' | 'response') {
    this.processed = scope.counter(`${direction}_rules_processed`)
    this.added = scope.counter(`${direction}_metadata_added`)
    this.notFound = scope.counter(`${direction}_header_not_found`)
  }
}

class Stats {
  readonly request: DirectionStats
  readonly response: DirectionStats
  readonly tooLong: Counter
  readonly base64Failed: Counter
  readonly substitutionFailed: Counter

  constructor(context: WorkerContext, statPrefix: string) {
    // Envoy's own name for it.
    const scope = context.stats.scope(`http_filter_name.${statPrefix}`)
    this.request = new DirectionStats(scope, 'request')
    this.response = new DirectionStats(scope, 'response')
    this.tooLong = scope.counter('header_value_too_long')
    this.base64Failed = scope.counter('base64_decode_failed')
    this.substitutionFailed = scope.counter('regex_substitution_failed')
  }
}

interface Pair {
  readonly data: ToMetadata
  readonly rewrite: ((text: string) => string) | null
}

interface Rule {
  readonly data: MetadataRule
  readonly onPresent: Pair | null
  readonly onMissing: Pair | null
}

interface Rules {
  readonly request: readonly Rule[]
  readonly response: readonly Rule[]
  readonly stats: Stats | null
}

function compile(config: HeaderToMetadataConfig, context: WorkerContext): Rules {
  const pair = (data: ToMetadata | null): Pair | null =>
    data && { data, rewrite: data.rewrite && compileRegexSubstitution(data.rewrite) }
  const rule = (data: MetadataRule): Rule => ({
    data,
    onPresent: pair(data.onPresent),
    onMissing: pair(data.onMissing),
  })
  return {
    request: config.request.map(rule),
    response: config.response.map(rule),
    stats: config.statPrefix === '' ? null : new Stats(context, config.statPrefix),
  }
}

class Shared {
  private readonly context: WorkerContext
  private readonly own: Rules
  private readonly ofRoutes = new WeakMap<HeaderToMetadataConfig, Rules>()

  constructor(config: HeaderToMetadataConfig, context: WorkerContext) {
    this.context = context
    this.own = compile(config, context)
  }

  rules(route: HeaderToMetadataConfig | undefined): Rules {
    if (route === undefined) return this.own
    let rules = this.ofRoutes.get(route)
    if (!rules) this.ofRoutes.set(route, (rules = compile(route, this.context)))
    return rules
  }
}

export function createHeaderToMetadataFilter(
  config: HeaderToMetadataConfig,
  context: WorkerContext,
): HttpFilterFactory {
  const shared = new Shared(config, context)
  return (callbacks) => callbacks.addStreamFilter(new HeaderToMetadataFilter(shared))
}

class HeaderToMetadataFilter extends PassThroughFilter {
  private readonly shared: Shared
  private rules: Rules | null = null

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  private chosen(): Rules {
    this.rules ??= this.shared.rules(this.callbacks.perFilterConfig<HeaderToMetadataConfig>())
    return this.rules
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { request, stats } = this.chosen()
    write(headers, request, this.callbacks, stats, stats?.request ?? null)
    return FilterHeadersStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { response, stats } = this.chosen()
    write(headers, response, this.encoderCallbacks, stats, stats?.response ?? null)
    return FilterHeadersStatus.Continue
  }
}

function write(
  headers: HeaderMap,
  rules: readonly Rule[],
  { streamInfo }: StreamFilterCallbacks,
  stats: Stats | null,
  direction: DirectionStats | null,
): void {
  for (let i = 0; i < rules.length; i++) {
    const { data, onPresent, onMissing } = rules[i]!
    direction?.processed.inc()
    const found = data.cookie ? cookieValue(headers, data.name) || undefined : headers.getAll(data.name)
    if (found !== undefined && data.remove) headers.remove(data.name)
    const pair = found === undefined ? onMissing : onPresent
    if (pair === null) continue
    if (found === undefined) direction?.notFound.inc()
    const value = metadataValue(pair, found ?? '', stats)
    if (value === undefined) continue
    streamInfo.setDynamicMetadata(pair.data.namespace, pair.data.key, value)
    direction?.added.inc()
  }
}

/** Not by an expression, which would look at each run of signs anew. */
function withoutPadding(base64: string): string {
  let end = base64.length
  while (end > 0 && base64[end - 1] === '=') end--
  return base64.slice(0, end)
}

/** undefined: the value is none, or not of its kind. */
function metadataValue({ data, rewrite }: Pair, found: string, stats: Stats | null): unknown {
  let text = data.value || found
  if (data.value === '' && rewrite !== null) {
    const rewritten = rewrite(text)
    if (rewritten === '' && text !== '') stats?.substitutionFailed.inc()
    text = rewritten
  }
  if (text === '') return undefined
  if (text.length >= MAX_VALUE_BYTES) {
    stats?.tooLong.inc()
    return undefined
  }
  let bytes = Buffer.from(text, 'latin1')
  if (data.base64) {
    bytes = Buffer.from(text, 'base64')
    // Padding may be left out; anything else that is not as an encoder writes it is no base64.
    if (bytes.length === 0 || withoutPadding(bytes.toString('base64')) !== withoutPadding(text)) {
      stats?.base64Failed.inc()
      return undefined
    }
  }
  switch (data.type) {
    case 'string':
      return bytes.toString('utf8')
    case 'number': {
      const number = bytes.toString('latin1').trim()
      return NUMBER.test(number) ? Number(number) : undefined
    }
    case 'protobuf_value':
      try {
        return toJson(ValueSchema, fromBinary(ValueSchema, bytes))
      } catch {
        // What a client sends need not be such a message.
        return undefined
      }
  }
}
