// Active health checks (envoy-contract §14): HTTP, TCP and gRPC, over connections of their own. The leading worker checks
// for all (peers.ts).

import type { Logger } from '../../base/logger.ts'
import { type ClientConnection, type RequestEncoder, type ResponseDecoder, StreamResetReason } from '../http/codec.ts'
import { HeaderMap } from '../http/header-map.ts'
import { ipAddress } from '../network/address.ts'
import { CloseType, type Connection, type ConnectionCallbacks, ConnectionEvent } from '../network/connection.ts'
import type { AccessLogFile } from '../observe/access-log-file.ts'
import type { Counter, Gauge, Scope } from '../observe/stats.ts'
import { compileStringMatcher, type StringMatch } from '../route/string-matcher.ts'
import type { Cluster } from './cluster.ts'
import { createClientCodec } from './codec-client.ts'
import type { HealthCheckData, HealthCheckerData, StatusRange } from './config.ts'
import { grpcFrame } from './grpc-frame.ts'
import { HealthCheckEvents } from './health-check-events.ts'
import { HealthFlag, Host } from './host.ts'
import { connectTo, DEFAULT_TRANSPORT } from './pool-environment.ts'

/** How one check ended. `immediate`: the host said so itself, no threshold is waited for. */
type Outcome = 'success' | 'degraded' | 'failure' | 'immediate' | 'network' | 'timeout'

const FAILURE_TYPE = { failure: 'ACTIVE', immediate: 'ACTIVE', network: 'NETWORK', timeout: 'NETWORK_TIMEOUT' } as const

class HealthCheckStats {
  readonly attempt: Counter
  readonly success: Counter
  readonly failure: Counter
  readonly networkFailure: Counter
  readonly passiveFailure: Counter
  readonly verifyCluster: Counter
  readonly healthy: Gauge
  readonly degraded: Gauge
  constructor(scope: Scope) {
    this.attempt = scope.counter('attempt')
    this.success = scope.counter('success')
    this.failure = scope.counter('failure')
    this.networkFailure = scope.counter('network_failure')
    this.passiveFailure = scope.counter('passive_failure')
    this.verifyCluster = scope.counter('verify_cluster')
    this.healthy = scope.gauge('healthy')
    this.degraded = scope.gauge('degraded')
  }
}

/** One configured check of a cluster: a session for each host. */
export class HealthChecker {
  readonly data: HealthCheckData
  readonly cluster: Cluster
  readonly stats: HealthCheckStats
  readonly log: Logger
  readonly serviceName: StringMatch | null
  readonly events: HealthCheckEvents
  private readonly onResult: (host: Host, healthy: boolean) => void
  /** A check has ended, or never will because its host is gone. */
  readonly onCheckEnd: () => void
  private readonly sessions = new Map<Host, Session>()
  private running = false

  constructor(
    data: HealthCheckData,
    cluster: Cluster,
    clusterScope: Scope,
    log: Logger,
    files: readonly AccessLogFile[],
    onResult: (host: Host, healthy: boolean) => void,
    onCheckEnd: () => void,
  ) {
    this.data = data
    this.cluster = cluster
    this.stats = new HealthCheckStats(clusterScope.scope('health_check'))
    this.log = log
    this.onResult = onResult
    this.onCheckEnd = onCheckEnd
    const { checker } = data
    this.events = new HealthCheckEvents(files, checker.kind, cluster.name)
    this.serviceName = checker.kind === 'http' && checker.serviceName ? compileStringMatcher(checker.serviceName) : null
    cluster.hosts.onUpdate(() => this.follow())
  }

  start(): void {
    this.running = true
    this.follow()
  }

  stop(): void {
    this.running = false
    for (const session of this.sessions.values()) session.stop()
    this.sessions.clear()
  }

  /** Hosts that are checked. */
  get sessionCount(): number {
    return this.sessions.size
  }

  /** Sessions for the hosts that there are now. */
  private follow(): void {
    if (!this.running) return
    const current = new Set<Host>()
    for (const host of this.cluster.hosts.hosts()) if (!host.endpoint.disableActiveHealthCheck) current.add(host)
    for (const [host, session] of this.sessions) {
      if (!current.has(host)) this.end(host, session)
    }
    for (const host of current) {
      if (this.sessions.has(host)) continue
      const session = new Session(this, host)
      this.sessions.set(host, session)
      session.schedule(Math.random() * this.data.initialJitterMs)
    }
  }

  private end(host: Host, session: Session): void {
    this.sessions.delete(host)
    session.stop()
    this.countHealthy()
    if (session.first) this.onCheckEnd()
  }

  /** The host is to be checked otherwise from now on: the first such check decides. */
  restart(host: Host): void {
    const session = this.sessions.get(host)
    if (session !== undefined) this.end(host, session)
  }

  report(host: Host, healthy: boolean): void {
    this.countHealthy()
    this.onResult(host, healthy)
  }

  /** A response of a host has said that it fails. */
  onPassiveFailure(host: Host): void {
    this.events.log(host, { eject_unhealthy_event: { failure_type: 'PASSIVE' } })
    this.stats.failure.inc()
    this.stats.passiveFailure.inc()
    this.countHealthy()
  }

  countHealthy(): void {
    let healthy = 0
    let degraded = 0
    for (const host of this.sessions.keys()) {
      if ((host.flags & HealthFlag.FailedActiveHc) === 0) healthy++
      if ((host.flags & HealthFlag.DegradedActiveHc) !== 0) degraded++
    }
    this.stats.healthy.set(healthy)
    this.stats.degraded.set(degraded)
  }
}

/** The checks of one host. */
class Session {
  private readonly checker: HealthChecker
  private readonly host: Host
  private attempt: Attempt | null = null
  private timer: NodeJS.Timeout | null = null
  private successes = 0
  private failures = 0
  /** No check has ended yet. */
  first = true
  private stopped = false

  constructor(checker: HealthChecker, host: Host) {
    this.checker = checker
    this.host = host
  }

  schedule(delayMs: number): void {
    // The outcome itself may have ended the session: a host that only its passing checks kept is gone by now.
    if (this.stopped) return
    this.timer = setTimeout(() => this.check(), delayMs)
    this.timer.unref()
  }

  private check(): void {
    this.checker.stats.attempt.inc()
    const kept = this.attempt
    if (kept?.reusable) kept.run()
    else {
      this.attempt = new Attempt(this.checker, this.host, (outcome) => this.onOutcome(outcome))
      this.attempt.run()
    }
  }

  private onOutcome(outcome: Outcome): void {
    if (this.stopped) return
    if (outcome === 'success' || outcome === 'degraded') this.onSuccess(outcome === 'degraded')
    else this.onFailure(outcome)
    this.checker.onCheckEnd()
  }

  private get failed(): boolean {
    return (this.host.flags & HealthFlag.FailedActiveHc) !== 0
  }

  private onSuccess(degraded: boolean): void {
    const { stats, data } = this.checker
    stats.success.inc()
    this.failures = 0
    this.successes++
    const { events } = this.checker
    let changed = this.host.setFlag(HealthFlag.DegradedActiveHc, degraded)
    const turned = changed
    changed = this.host.setFlag(HealthFlag.PendingActiveHc | HealthFlag.ActiveHcTimeout, false) || changed
    const edge = this.failed
    // The first check of a host decides by itself.
    if (edge && (this.first || this.successes >= data.healthyThreshold)) {
      this.host.setFlag(HealthFlag.FailedActiveHc | HealthFlag.ExcludedViaImmediateHcFail, false)
      changed = true
      events.log(this.host, { add_healthy_event: { first_check: this.first } })
    }
    if (turned) events.log(this.host, degraded ? { degraded_healthy_host: {} } : { no_longer_degraded_host: {} })
    if (data.alwaysLogSuccess && !this.first) events.log(this.host, { successful_health_check_event: {} })
    this.first = false
    if (changed) this.checker.report(this.host, true)
    this.next(
      edge && !this.failed ? data.healthyEdgeIntervalMs : this.failed ? data.unhealthyIntervalMs : data.intervalMs,
    )
  }

  private onFailure(outcome: Exclude<Outcome, 'success' | 'degraded'>): void {
    const { stats, data, log, cluster } = this.checker
    stats.failure.inc()
    if (outcome === 'network' || outcome === 'timeout') stats.networkFailure.inc()
    this.successes = 0
    this.failures++
    const wasFailed = this.failed
    const counted = this.host.setFlag(HealthFlag.PendingActiveHc, false)
    const certain = outcome === 'immediate' || this.first || this.failures >= data.unhealthyThreshold
    const type = FAILURE_TYPE[outcome]
    if (!wasFailed && certain) {
      this.host.setFlag(HealthFlag.FailedActiveHc, true)
      this.checker.events.log(this.host, { eject_unhealthy_event: { failure_type: type } })
    }
    if (this.first || data.alwaysLogFailures) {
      const event = {
        failure_type: type,
        first_check: this.first,
        http_status_code: outcome === 'network' || outcome === 'timeout' ? 0 : (this.attempt?.httpStatus ?? 0),
      }
      this.checker.events.log(this.host, { health_check_failure_event: event })
    }
    this.first = false
    if (data.alwaysLogFailures || (!wasFailed && certain)) {
      log.info({ cluster: cluster.name, host: this.host.address.text, outcome }, 'health check failed')
    }
    if (counted || (!wasFailed && certain)) this.checker.report(this.host, false)
    else this.checker.countHealthy()
    this.next(
      !wasFailed && certain ? data.unhealthyEdgeIntervalMs : certain ? data.unhealthyIntervalMs : data.intervalMs,
    )
  }

  private next(intervalMs: number): void {
    const { data, cluster } = this.checker
    let interval = intervalMs
    // Nobody waits for a cluster that gets no traffic.
    if (!cluster.resources('DEFAULT').hadTraffic) {
      interval = this.failed ? data.noTrafficIntervalMs : data.noTrafficHealthyIntervalMs
    }
    const jitter = Math.random() * data.intervalJitterMs + (Math.random() * data.intervalJitterPercent * interval) / 100
    this.schedule(interval + jitter)
  }

  stop(): void {
    this.stopped = true
    if (this.timer !== null) clearTimeout(this.timer)
    this.attempt?.close()
  }
}

/** One connection that checks, again and again where reuse_connection allows it. */
class Attempt implements ConnectionCallbacks, ResponseDecoder {
  private readonly checker: HealthChecker
  private readonly host: Host
  private readonly onOutcome: (outcome: Outcome) => void
  private connection: Connection | null = null
  private codec: ClientConnection | null = null
  private encoder: RequestEncoder | null = null
  private timer: NodeJS.Timeout | null = null
  private waiting = false
  private response: HeaderMap | null = null
  private received: Buffer = EMPTY

  constructor(checker: HealthChecker, host: Host, onOutcome: (outcome: Outcome) => void) {
    this.checker = checker
    this.host = host
    this.onOutcome = onOutcome
  }

  /** Of the last answer, 0 = none or not HTTP. */
  get httpStatus(): number {
    return this.checker.data.checker.kind === 'http' ? (this.response?.status ?? 0) : 0
  }

  get reusable(): boolean {
    return this.connection?.open === true && !this.connection.connecting && this.checker.data.reuseConnection
  }

  run(): void {
    this.waiting = true
    this.response = null
    this.received = EMPTY
    this.timer = setTimeout(() => this.onTimeout(), this.checker.data.timeoutMs)
    this.timer.unref()
    if (this.connection?.open) {
      this.send()
      return
    }
    const { cluster, data } = this.checker
    const choice = data.alpnProtocols === null ? DEFAULT_TRANSPORT : { ...DEFAULT_TRANSPORT, alpn: data.alpnProtocols }
    this.connection = connectTo(checkedHost(this.host, data, cluster), cluster, choice)
    if (this.connection === null) this.finish('network')
    else this.connection.callbacks = this
  }

  private onTimeout(): void {
    this.host.setFlag(HealthFlag.ActiveHcTimeout, true)
    this.finish('timeout')
    this.close()
  }

  private finish(outcome: Outcome): void {
    if (!this.waiting) return
    this.waiting = false
    if (this.timer !== null) clearTimeout(this.timer)
    this.encoder = null
    if (!this.checker.data.reuseConnection || outcome === 'network' || outcome === 'timeout') this.close()
    this.onOutcome(outcome)
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    const { connection } = this
    this.connection = null
    this.codec = null
    if (connection?.open) connection.close(CloseType.NoFlush)
  }

  private send(): void {
    const { checker } = this.checker.data
    if (checker.kind === 'tcp') {
      if (checker.send !== null && checker.send.length > 0) this.connection!.write(Buffer.from(checker.send), false)
      if (checker.receive.length === 0) this.finish('success')
      return
    }
    const protocol = checker.kind === 'grpc' || checker.protocol === 'http2' ? 'http2' : 'http1'
    const { data, stats } = this.checker.cluster
    this.codec ??= createClientCodec(protocol, this.connection!, NO_CODEC_CALLBACKS, data.http, stats)
    this.encoder = this.codec.newStream(this)
    const headers = requestOf(checker, this.host, this.checker.cluster.name)
    const body = bodyOf(checker)
    this.encoder.encodeHeaders(headers, body === null)
    if (body !== null) this.encoder.encodeData(body, true)
  }

  // Connection.

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) {
      this.send()
      return
    }
    const { codec } = this
    this.connection = null
    this.codec = null
    codec?.onConnectionClosed(StreamResetReason.ConnectionTermination)
    this.finish('network')
  }

  onData(chunk: Buffer, endStream: boolean): void {
    const { checker } = this.checker.data
    if (checker.kind === 'tcp') {
      this.received = Buffer.concat([this.received, chunk])
      if (containsInOrder(this.received, checker.receive)) this.finish('success')
      else if (endStream) this.finish('network')
      // A host that has hung up cannot be asked again on this connection.
      if (endStream) this.close()
      return
    }
    const { codec, connection } = this
    if (codec === null) return
    const error = (chunk.length > 0 ? codec.dispatch(chunk) : null) ?? (endStream ? codec.onEndOfInput() : null)
    if (error !== null || endStream) connection?.close(CloseType.NoFlush)
  }

  onAboveWriteBufferHighWatermark(): void {}
  onBelowWriteBufferLowWatermark(): void {}

  // Response.

  decode1xxHeaders(): void {}

  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.response = headers
    if (endStream) this.judge(null)
  }

  decodeData(chunk: Buffer, endStream: boolean): void {
    const { checker } = this.checker.data
    const room = (checker.kind === 'http' ? checker.responseBufferSize : DEFAULT_BUFFER) - this.received.length
    if (chunk.length > 0 && room > 0) this.received = Buffer.concat([this.received, chunk.subarray(0, room)])
    if (endStream) this.judge(null)
  }

  decodeTrailers(trailers: HeaderMap): void {
    this.judge(trailers)
  }

  private judge(trailers: HeaderMap | null): void {
    const { checker } = this.checker.data
    if (checker.kind === 'grpc') this.finish(grpcOutcome(this.response!, trailers, this.received))
    else if (checker.kind === 'http') this.finish(this.httpOutcome(checker))
  }

  private httpOutcome(checker: Extract<HealthCheckerData, { kind: 'http' }>): Outcome {
    const response = this.response!
    const { serviceName, stats } = this.checker
    if (!inRanges(response.status, checker.expected))
      return inRanges(response.status, checker.retriable) ? 'failure' : 'immediate'
    if (!containsInOrder(this.received, checker.receive)) return 'immediate'
    if (serviceName !== null) {
      stats.verifyCluster.inc()
      if (!serviceName(response.get('x-envoy-upstream-healthchecked-cluster') ?? '')) return 'immediate'
    }
    return response.has('x-envoy-degraded') ? 'degraded' : 'success'
  }
}

const EMPTY: Buffer = Buffer.alloc(0)
const DEFAULT_BUFFER = 1024
const NO_CODEC_CALLBACKS = { onGoAway() {}, onStreamComplete() {}, onMaxStreamsChanged() {} }

/** The host at the address and port, and with the transport socket, that its health checks use. */
function checkedHost(host: Host, data: HealthCheckData, cluster: Cluster): Host {
  const { healthCheckPort, healthCheckAddress } = host.endpoint
  const port = healthCheckPort
  const criteria = data.transportSocketMatch
  if (port === 0 && healthCheckAddress === null && criteria === null) return host
  const base = healthCheckAddress ?? host.address
  const address = port === 0 ? base : ipAddress(base.ip, port)
  const endpoint = { ...host.endpoint, address, additionalAddresses: [] }
  const metadata = { 'envoy.transport_socket_match': criteria ?? {} }
  const socket = criteria === null ? host.transportSocket : cluster.socketFor({ ...endpoint, metadata }, {})
  return new Host(endpoint, host.locality, host.priority, socket)
}

function requestOf(checker: Exclude<HealthCheckerData, { kind: 'tcp' }>, host: Host, cluster: string): HeaderMap {
  const headers = new HeaderMap()
  headers.scheme = host.transportSocket.protocol === 'tls' ? 'https' : 'http'
  if (checker.kind === 'grpc') {
    headers.method = 'POST'
    headers.path = '/grpc.health.v1.Health/Check'
    headers.authority = checker.authority || host.endpoint.healthCheckHostname || cluster
    headers.add('content-type', 'application/grpc')
    headers.add('te', 'trailers')
    headers.add('user-agent', 'Envoy/HC')
    for (const { name, value } of checker.headers) headers.add(name, value)
    return headers
  }
  headers.method = checker.method
  headers.path = checker.path
  headers.authority = host.endpoint.healthCheckHostname || checker.host || cluster
  headers.add('user-agent', 'Envoy/HC')
  for (const name of checker.headersToRemove) headers.remove(name)
  for (const { name, value } of checker.headersToAdd) headers.add(name, value)
  return headers
}

function bodyOf(checker: Exclude<HealthCheckerData, { kind: 'tcp' }>): Buffer | null {
  if (checker.kind === 'http') return checker.send === null ? null : Buffer.from(checker.send)
  // HealthCheckRequest{ service = 1 }.
  const service = Buffer.from(checker.serviceName, 'utf8')
  return grpcFrame(
    service.length === 0 ? EMPTY : Buffer.concat([Buffer.from([0x0a, ...varint(service.length)]), service]),
  )
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)]
}

/** SERVING in an OK answer. HealthCheckResponse{ status = 1 } is two bytes when it is SERVING. */
function grpcOutcome(headers: HeaderMap, trailers: HeaderMap | null, body: Buffer): Outcome {
  const status = trailers?.get('grpc-status') ?? headers.get('grpc-status')
  if (headers.status !== 200 || status !== '0') return 'failure'
  const serving = body.length >= 7 && body[5] === 0x08 && body[6] === 1
  return serving ? 'success' : 'immediate'
}

function inRanges(status: number, ranges: readonly StatusRange[]): boolean {
  return ranges.some(([start, end]) => status >= start && status < end)
}

/** Every part occurs, each after the one before it. */
function containsInOrder(bytes: Buffer, parts: readonly Uint8Array[]): boolean {
  let at = 0
  for (const part of parts) {
    const found = bytes.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return true
}
