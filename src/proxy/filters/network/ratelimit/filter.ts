// envoy.filters.network.ratelimit: asks a rate limit service whether a connection may go on (envoy-contract §9.2).

import {
  type RateLimit,
  RateLimitSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/ratelimit/v3/rate_limit_pb.js'
import type { NetworkFilterExtension, ParseContext, WorkerContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { CloseType, ConnectionEvent } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import { TextFormat } from '../../../observe/format/text-format.ts'
import type { Counter, Gauge } from '../../../observe/stats.ts'
import { StreamInfo } from '../../../stream-info.ts'
import type { Cancellable } from '../../../upstream/cluster-manager.ts'
import { callUnary } from '../../../upstream/grpc-client.ts'
import type { GrpcTarget } from '../../../upstream/grpc-target.ts'
import { type Answer, decodeAnswer, encodeQuestion, parseService, SHOULD_RATE_LIMIT } from '../../common/rate-limit.ts'

interface RateLimitConfig {
  readonly statPrefix: string
  readonly service: GrpcTarget
  readonly domain: string
  /** Of each descriptor its keys, and the formats of their values. */
  readonly descriptors: readonly (readonly (readonly [key: string, format: string])[])[]
  readonly failureModeDeny: boolean
}

const SUPPORTED: ReadonlySet<string> = new Set([
  'stat_prefix',
  'domain',
  'descriptors',
  'timeout',
  'failure_mode_deny',
  'rate_limit_service',
])
const METADATA_NAMESPACE = 'envoy.filters.network.ratelimit'

function parse(message: RateLimit, context: ParseContext): RateLimitConfig {
  refuseUnsupported(RateLimitSchema, message, SUPPORTED, context.path)
  return {
    statPrefix: message.statPrefix,
    service: parseService(message.rateLimitService, message.timeout, context),
    domain: message.domain,
    // Envoy takes their `limit` and hits as well, and tells the service of neither.
    descriptors: message.descriptors.map(({ entries }, i) => {
      const at = context.at(`descriptors[${i}]`)
      return entries.map(({ key, value }, j) => {
        // Compiled again in the workers; here for the error.
        new TextFormat(value, false, at.at(`entries[${j}].value`).path)
        return [key, value]
      })
    }),
    failureModeDeny: message.failureModeDeny,
  }
}

class Shared {
  readonly config: RateLimitConfig
  readonly context: WorkerContext
  readonly descriptors: readonly (readonly (readonly [key: string, format: TextFormat])[])[]
  readonly total: Counter
  readonly ok: Counter
  readonly error: Counter
  readonly overLimit: Counter
  readonly failureModeAllowed: Counter
  readonly closed: Counter
  readonly active: Gauge

  constructor(config: RateLimitConfig, context: WorkerContext) {
    this.config = config
    this.context = context
    this.descriptors = config.descriptors.map((entries) =>
      entries.map(([key, format]) => [key, new TextFormat(format, false, key)]),
    )
    const scope = context.stats.scope(`ratelimit.${config.statPrefix}`)
    this.total = scope.counter('total')
    this.ok = scope.counter('ok')
    this.error = scope.counter('error')
    this.overLimit = scope.counter('over_limit')
    this.failureModeAllowed = scope.counter('failure_mode_allowed')
    this.closed = scope.counter('cx_closed')
    this.active = scope.gauge('active')
  }

  /** Percent; 100 unless the runtime says otherwise. */
  drawn(runtimeKey: string): boolean {
    return Math.random() * 100 < this.context.runtime.number(runtimeKey, 100)
  }
}

class NetworkRateLimit implements NetworkFilter {
  private readonly shared: Shared
  private readonly callbacks: ReadFilterCallbacks
  private call: Cancellable | null = null
  private asking = false
  private closed = false
  /** True while onNewConnection runs: the answer may come within. */
  private inCallback = false

  constructor(shared: Shared, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    const { shared } = this
    const { config, context } = shared
    const { callbacks } = this
    if (!shared.drawn('ratelimit.tcp_filter_enabled')) return FilterStatus.Continue
    shared.total.inc()
    shared.active.inc()
    this.asking = true
    this.inCallback = true
    const cluster = context.clusters.get(config.service.cluster)
    const info = new StreamInfo(callbacks.connection.info, callbacks.filterState)
    const parent = { info, headers: null }
    const call = callUnary(cluster, config.service, parent, SHOULD_RATE_LIMIT, this.question(info), {
      onMessage: (message) => this.onAnswer(decodeAnswer(message)),
      onFailure: () => this.onAnswer(null),
    })
    this.inCallback = false
    if (this.asking) this.call = call
    return this.asking || this.closed ? FilterStatus.StopIteration : FilterStatus.Continue
  }

  private question(info: StreamInfo): Uint8Array {
    const context = {
      info,
      requestHeaders: null,
      responseHeaders: null,
      responseTrailers: null,
      localReplyBody: '',
      type: 'NotSet',
    } as const
    const { config, descriptors } = this.shared
    return encodeQuestion(
      config.domain,
      descriptors.map((entries) => ({
        entries: entries.map(([key, format]) => [key, format.format(context)] as const),
        hits: null,
        negative: false,
        limit: null,
        told: null,
      })),
    )
  }

  private onAnswer(answer: Answer | null): void {
    const { shared } = this
    this.call = null
    this.asking = false
    shared.active.dec()
    if (answer?.metadata) {
      Object.assign((this.callbacks.dynamicMetadata[METADATA_NAMESPACE] ??= {}), answer.metadata)
    }
    if (answer === null) {
      shared.error.inc()
      if (shared.config.failureModeDeny) this.refuse()
      else {
        shared.failureModeAllowed.inc()
        this.goOn()
      }
    } else if (answer.verdict === 'over_limit') {
      shared.overLimit.inc()
      if (shared.drawn('ratelimit.tcp_filter_enforcing')) this.refuse()
      else this.goOn()
    } else {
      shared.ok.inc()
      this.goOn()
    }
  }

  private refuse(): void {
    this.shared.closed.inc()
    this.closed = true
    this.callbacks.connection.close(CloseType.NoFlush)
  }

  private goOn(): void {
    if (!this.inCallback) this.callbacks.continueReading()
  }

  onData(): FilterStatus {
    return this.asking || this.closed ? FilterStatus.StopIteration : FilterStatus.Continue
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || !this.asking) return
    this.asking = false
    this.call?.cancel()
    this.call = null
    this.shared.active.dec()
  }
}

export const networkRateLimit: NetworkFilterExtension<RateLimitConfig> = {
  name: 'envoy.filters.network.ratelimit',
  desc: RateLimitSchema,
  parse: (message, context) => parse(message as RateLimit, context),
  create(config, context) {
    const shared = new Shared(config, context)
    return (callbacks) => new NetworkRateLimit(shared, callbacks)
  },
}
