// envoy.filters.http.ext_authz: asks a service whether a request may go on, and does what it says.

import { keepChunk } from '../../../../base/small-chunks.ts'
import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { compileMetadataMatcher, type MetadataMatch } from '../../../route/metadata-matcher.ts'
import { inFraction } from '../../../route/route-match.ts'
import { now } from '../../../stream-info.ts'
import type { Cancellable, ClusterManager } from '../../../upstream/cluster-manager.ts'
import { callUnary } from '../../../upstream/grpc-client.ts'
import { sendRequest } from '../../../upstream/http-client.ts'
import { compileMutationRules, type MutationAllowed } from '../../common/mutation-rules.ts'
import { requestEndsApart } from '../body-end.ts'
import { PassThroughFilter } from '../pass-through.ts'
import {
  type Answer,
  anyOf,
  ERROR,
  grpcAnswer,
  grpcQuestion,
  type HeaderChange,
  httpAnswer,
  httpQuestion,
  type Question,
} from './check.ts'
import type { AuthzService, BodyConfig, ExtAuthzConfig, ExtAuthzRouteConfig } from './config.ts'

const METADATA_NAMESPACE = 'envoy.filters.http.ext_authz'
const CHECK_PATH = '/envoy.service.auth.v3.Authorization/Check'
/** To whoever a filter with an HTTP service asks. */
const ALWAYS_SHOWN: ReadonlySet<string> = new Set([':method', ':path', ':authority', 'authorization'])
const NOTHING: ReadonlySet<string> = new Set()
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
const BAD_VALUE = /[\0\r\n]/

interface ResultCounters {
  readonly ok: Counter
  readonly denied: Counter
  readonly error: Counter
  readonly disabled: Counter
  readonly invalid: Counter
  readonly requestHeaderLimitsReached: Counter
  readonly failureModeAllowed: Counter
  readonly ignoredDynamicMetadata: Counter
}

class Shared {
  readonly config: ExtAuthzConfig
  readonly clusters: ClusterManager
  readonly runtime: RuntimeSnapshot
  readonly enabledMetadata: MetadataMatch | null
  /** Whether a request header is shown to the service. */
  readonly allowed: (name: string) => boolean
  readonly counters: ResultCounters
  /** Whether the service may change a request header. */
  readonly mutable: MutationAllowed

  constructor(config: ExtAuthzConfig, context: WorkerContext, statPrefix: string) {
    this.config = config
    this.clusters = context.clusters
    this.runtime = context.runtime
    this.enabledMetadata = config.enabledMetadata ? compileMetadataMatcher(config.enabledMetadata) : null
    this.mutable = config.mutationRules === null ? () => true : compileMutationRules(config.mutationRules)
    const own = config.statPrefix === '' ? '' : `${config.statPrefix}.`
    const scope = context.stats.scope(`http.${statPrefix}.ext_authz`)
    const counter = (name: string): Counter => scope.counter(`${own}${name}`)
    this.counters = {
      ok: counter('ok'),
      denied: counter('denied'),
      error: counter('error'),
      disabled: counter('disabled'),
      invalid: counter('invalid'),
      requestHeaderLimitsReached: counter('request_header_limits_reached'),
      failureModeAllowed: counter('failure_mode_allowed'),
      ignoredDynamicMetadata: counter('ignored_dynamic_metadata'),
    }
    const list = config.allowedHeaders ?? (config.service.kind === 'http' ? config.service.allowedHeaders : null)
    const listed = list === null ? () => true : anyOf(list)
    const always = config.service.kind === 'http' ? ALWAYS_SHOWN : NOTHING
    const allowed = (name: string): boolean => always.has(name) || listed(name)
    const disallowed = config.disallowedHeaders.length > 0 ? anyOf(config.disallowedHeaders) : () => false
    this.allowed = (name) => allowed(name) && !disallowed(name)
  }
}

export function createExtAuthzFilter(
  config: ExtAuthzConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  const shared = new Shared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamFilter(new ExtAuthzFilter(shared))
}

/** Waiting for: nothing yet, the body, the answer; or finished. */
const Phase = { Idle: 0, Buffering: 1, Asking: 2, Done: 3 } as const
type Phase = (typeof Phase)[keyof typeof Phase]

class ExtAuthzFilter extends PassThroughFilter {
  private readonly shared: Shared
  private phase: Phase = Phase.Idle
  private headers: HeaderMap | null = null
  private contextExtensions: Readonly<Record<string, string>> = {}
  private bodyConfig: BodyConfig | null = null
  private service: AuthzService
  private readonly chunks: Buffer[] = []
  private bodyBytes = 0
  private askedAt = 0
  private call: Cancellable | null = null
  /** True while decodeHeaders or decodeData runs: the answer may come within. */
  private inCallback = false
  private responseChanges: readonly HeaderChange[] = []
  private answered = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
    this.service = shared.config.service
  }

  override decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { config, counters } = this.shared
    const route = this.callbacks.perFilterConfig<ExtAuthzRouteConfig>()
    // Nobody is asked about what goes nowhere (Envoy).
    if (route?.disabled || this.callbacks.route() === null) {
      this.phase = Phase.Done
      return FilterHeadersStatus.Continue
    }
    if (!this.enabled()) {
      this.phase = Phase.Done
      counters.disabled.inc()
      const deny = config.denyAtDisable
      if (
        deny === null ||
        !(deny.runtimeKey === '' ? deny.value : this.shared.runtime.bool(deny.runtimeKey, deny.value))
      ) {
        return FilterHeadersStatus.Continue
      }
      this.callbacks.streamInfo.setFlag('UAEX')
      this.callbacks.sendLocalReply(config.statusOnError, '', null, null, 'ext_authz_error')
      return FilterHeadersStatus.StopIteration
    }
    this.headers = headers
    if (route) this.followRoute(route)
    this.bodyConfig = route?.disableBody ? null : (route?.body ?? config.body)
    if (this.bodyConfig !== null && !endStream && !headers.has('upgrade')) {
      this.phase = Phase.Buffering
      if (!this.bodyConfig.allowPartial) this.callbacks.setBufferLimit(this.bodyConfig.maxBytes)
      return FilterHeadersStatus.StopIteration
    }
    return this.ask(false) ? FilterHeadersStatus.Continue : FilterHeadersStatus.StopIteration
  }

  private followRoute(route: ExtAuthzRouteConfig): void {
    const levels = this.callbacks.perFilterConfigs<ExtAuthzRouteConfig>()
    this.contextExtensions =
      levels.length > 1
        ? Object.assign({}, ...levels.map(({ contextExtensions }) => contextExtensions))
        : route.contextExtensions
    if (route.service !== null) this.service = route.service
  }

  private enabled(): boolean {
    const { config, enabledMetadata, runtime } = this.shared
    const info = this.callbacks.streamInfo
    if (enabledMetadata !== null && !enabledMetadata(info.dynamicMetadata)) return false
    return config.enabled === null || inFraction(config.enabled, runtime, Math.floor(Math.random() * 1_000_000))
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.phase === Phase.Asking) return FilterDataStatus.StopIterationAndWatermark
    if (this.phase !== Phase.Buffering) return FilterDataStatus.Continue
    const { maxBytes, allowPartial } = this.bodyConfig!
    const room = Math.max(0, maxBytes - this.bodyBytes)
    keepChunk(this.chunks, chunk.subarray(0, room))
    this.bodyBytes += chunk.length
    const full = this.bodyBytes > maxBytes
    // What is too long is refused, except for the last piece of it (Envoy).
    if (full && !allowPartial && (!endStream || requestEndsApart(this.callbacks.streamInfo))) {
      this.phase = Phase.Done
      this.callbacks.onRequestTooLarge()
      return FilterDataStatus.StopIterationNoBuffer
    }
    if (!endStream && (!allowPartial || this.bodyBytes < maxBytes)) return FilterDataStatus.StopIterationAndBuffer
    return this.ask(full) ? FilterDataStatus.Continue : FilterDataStatus.StopIterationAndWatermark
  }

  override decodeTrailers(): FilterTrailersStatus {
    if (this.phase === Phase.Asking) return FilterTrailersStatus.StopIteration
    if (this.phase !== Phase.Buffering) return FilterTrailersStatus.Continue
    return this.ask(false) ? FilterTrailersStatus.Continue : FilterTrailersStatus.StopIteration
  }

  /** True when the request may go on at once; else it was answered, or waits. */
  private ask(partial: boolean): boolean {
    const { config, clusters, allowed } = this.shared
    const question: Question = {
      headers: this.headers!,
      info: this.callbacks.streamInfo,
      body: Buffer.concat(this.chunks),
      partial: this.chunks.length > 0 ? partial : null,
      contextExtensions: this.contextExtensions,
      routeMetadata: config.routeMetadataNamespaces.length > 0 ? (this.callbacks.route()?.metadata ?? null) : null,
    }
    this.phase = Phase.Asking
    this.inCallback = true
    this.askedAt = now()
    const { service } = this
    const cluster = clusters.get(service.cluster)
    if (service.kind === 'grpc') {
      this.call = callUnary(cluster, service, question, CHECK_PATH, grpcQuestion(question, config, allowed), {
        onMessage: (message) => this.onAnswer(grpcAnswer(message)),
        onFailure: () => this.onAnswer(ERROR),
        onFault: (error) => this.callbacks.onFault(error),
      })
    } else {
      const body = question.body.length > 0 ? question.body : null
      this.call = sendRequest(cluster, httpQuestion(question, service, allowed), body, service.timeoutMs, {
        onResponse: (headers, answer) => {
          headers.set('x-envoy-upstream-service-time', String(Math.max(0, Math.round(now() - this.askedAt))))
          this.onAnswer(httpAnswer(service, headers, answer))
        },
        onFailure: () => this.onAnswer(ERROR),
        onFault: (error) => this.callbacks.onFault(error),
      })
    }
    this.inCallback = false
    return this.allowedNow
  }

  /** The answer has come and lets the request pass. */
  private get allowedNow(): boolean {
    return this.phase === Phase.Done && !this.answered
  }

  private onAnswer(answer: Answer): void {
    this.call = null
    this.phase = Phase.Done
    if (answer.kind !== 'error' && answer.metadata !== null) {
      const timed = answer.kind === 'ok' ? { ext_authz_duration: Math.round(now() - this.askedAt) } : null
      this.takeMetadata({ ...answer.metadata, ...timed })
    }
    switch (answer.kind) {
      case 'ok':
        this.onAllowed(answer)
        break
      case 'denied':
        this.onDenied(answer)
        break
      default:
        this.onError()
    }
  }

  private takeMetadata(metadata: Readonly<Record<string, unknown>>): void {
    const { config, counters } = this.shared
    if (!config.takesMetadata) {
      counters.ignoredDynamicMetadata.inc()
      return
    }
    for (const key of Object.keys(metadata))
      this.callbacks.streamInfo.setDynamicMetadata(METADATA_NAMESPACE, key, metadata[key])
  }

  /** The cluster that the request would go to counts the same. */
  private countForCluster(name: string): void {
    const { statPrefix } = this.shared.config
    const own = statPrefix === '' ? '' : `${statPrefix}.`
    const { upstreamCluster } = this.callbacks.streamInfo
    this.shared.clusters.get(upstreamCluster)?.stats.scope.counter(`ext_authz.${own}${name}`).inc()
  }

  private resume(): void {
    if (!this.inCallback) this.callbacks.continueDecoding()
  }

  private onAllowed(answer: Extract<Answer, { kind: 'ok' }>): void {
    const { config, counters } = this.shared
    if (config.validateMutations && !answer.set.every(isValid)) {
      this.refuseInvalid()
      return
    }
    const headers = this.headers!
    const { mutable } = this.shared
    const removable = (name: string): boolean => !name.startsWith(':') && name !== 'host' && mutable(name)
    if (config.mutationRules?.disallowIsError) {
      if (!answer.set.every(({ name }) => mutable(name)) || !answer.remove.every(removable)) {
        this.refuseInvalid()
        return
      }
    }
    for (const name of answer.remove) if (removable(name)) headers.remove(name)
    for (const change of answer.set) if (isValid(change) && mutable(change.name)) applyChange(headers, change)
    if (answer.set.length > 0 && this.callbacks.requestHeadersExceedLimits()) {
      counters.requestHeaderLimitsReached.inc()
      this.refuseInvalid()
      return
    }
    counters.ok.inc()
    this.countForCluster('ok')
    setQuery(headers, answer.queryToSet, answer.queryToRemove)
    this.responseChanges = answer.response
    const changed = answer.set.length > 0 || answer.remove.length > 0
    if (config.clearRouteCache && changed) this.callbacks.clearRouteCache()
    this.resume()
  }

  /** The service made something of the request that it must not be. */
  private refuseInvalid(): void {
    this.shared.counters.invalid.inc()
    this.countForCluster('invalid')
    this.refuse(500, '', null, 'ext_authz_invalid')
  }

  private onDenied(answer: Extract<Answer, { kind: 'denied' }>): void {
    this.shared.counters.denied.inc()
    this.countForCluster('denied')
    const { chargeClusterResponseStats, maxDeniedBodyBytes } = this.shared.config
    if (chargeClusterResponseStats) {
      const { upstreamCluster } = this.callbacks.streamInfo
      this.shared.clusters.get(upstreamCluster)?.stats.responses.countResponse(answer.status, true, false, '')
    }
    this.refuse(
      answer.status,
      maxDeniedBodyBytes > 0 ? answer.body.slice(0, maxDeniedBodyBytes) : answer.body,
      (response) => {
        for (const change of answer.headers) if (isValid(change)) applyChange(response, change)
      },
      'ext_authz_denied',
    )
  }

  private onError(): void {
    const { config, counters } = this.shared
    counters.error.inc()
    this.countForCluster('error')
    if (!config.failureModeAllow) {
      this.refuse(config.statusOnError, '', null, 'ext_authz_error')
      return
    }
    counters.failureModeAllowed.inc()
    this.countForCluster('failure_mode_allowed')
    if (config.failureModeAllowHeader) this.headers!.set('x-envoy-auth-failure-mode-allowed', 'true')
    this.resume()
  }

  private refuse(status: number, body: string, modify: ((headers: HeaderMap) => void) | null, details: string): void {
    this.answered = true
    this.callbacks.streamInfo.setFlag('UAEX')
    this.callbacks.sendLocalReply(status, body, modify, null, details)
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    for (const change of this.responseChanges) if (isValid(change)) applyChange(headers, change)
    return FilterHeadersStatus.Continue
  }

  override onDestroy(): void {
    this.call?.cancel()
  }
}

function isValid({ name, value }: HeaderChange): boolean {
  return HEADER_NAME.test(name.startsWith(':') ? name.slice(1) : name) && !BAD_VALUE.test(value)
}

function applyChange(headers: HeaderMap, { name, value, action }: HeaderChange): void {
  const target = name === 'host' ? ':authority' : name
  if (action === 'append') headers.add(target, value)
  else if (action === 'add_if_absent' ? !headers.has(target) : action === 'set' || headers.has(target))
    headers.set(target, value)
}

function setQuery(
  headers: HeaderMap,
  toSet: readonly { readonly key: string; readonly value: string }[],
  toRemove: readonly string[],
): void {
  if (toSet.length === 0 && toRemove.length === 0) return
  const at = headers.path.indexOf('?')
  const path = at < 0 ? headers.path : headers.path.slice(0, at)
  const gone = new Set([...toRemove, ...toSet.map(({ key }) => key)])
  const pairs = (at < 0 ? '' : headers.path.slice(at + 1))
    .split('&')
    .filter((pair) => pair !== '' && !gone.has(pair.split('=')[0]!))
  for (const { key, value } of toSet) pairs.push(`${encodeURIComponent(key)}=${encodeURIComponent(value)}`)
  headers.path = pairs.length > 0 ? `${path}?${pairs.join('&')}` : path
}
