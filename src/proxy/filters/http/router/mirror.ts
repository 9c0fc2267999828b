// request_mirror_policies: a copy of the request, sent and forgotten (envoy-contract §7.8).

import type { StreamResetReason } from '../../../http/codec.ts'
import type { ChainEntry } from '../../../http/connection-manager/shared.ts'
import type { RequestSpan } from '../../../http/connection-manager/tracing.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import type { Connection } from '../../../network/connection.ts'
import { reportFault } from '../../../network/fault.ts'
import { FilterState } from '../../../network/filter.ts'
import type { LogContext } from '../../../observe/access-log.ts'
import type { Mirror } from '../../../route/route.ts'
import { now, StreamInfo } from '../../../stream-info.ts'
import type { ClusterManager, ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import { AttemptSpan } from './attempt-span.ts'
import { failureOf } from './failure.ts'
import { grpcToHttp } from './grpc-status.ts'
import { loadBalancerContext } from './load-balancer-context.ts'
import type { FilterReply } from './upstream-chain.ts'
import { UpstreamRequest, type UpstreamRequestOwner } from './upstream-request.ts'

/** Whatever the answer is, nobody waits for it: it is counted. The route timeout still bounds it. */
class MirrorOwner implements UpstreamRequestOwner {
  private readonly cluster: ThreadLocalCluster
  private readonly grpc: boolean
  readonly bufferLimit: number
  private readonly pause: (pause: boolean) => void
  private answered = false

  constructor(
    cluster: ThreadLocalCluster,
    grpc: boolean,
    { bufferLimit, pause }: Pick<MirrorOptions, 'bufferLimit' | 'pause'>,
  ) {
    this.bufferLimit = bufferLimit
    this.cluster = cluster
    this.grpc = grpc
    this.pause = pause
  }

  onFault(error: unknown, request: UpstreamRequest): void {
    reportFault(error, 'a mirrored request')
    request.abandon()
  }

  /** A request of the proxy's own is an internal one. */
  private count(status: number, canary: boolean, zone: string): void {
    this.cluster.stats.responses.countResponse(status, true, canary, zone)
  }

  private onEnd({ startedAt, host }: UpstreamRequest): void {
    this.cluster.stats.responses.recordTime(now() - startedAt, true, host.canary, host.locality.zone)
  }

  onUpstream1xx(headers: HeaderMap): void {
    this.count(headers.status, false, '')
  }
  onUpstreamHeaders(headers: HeaderMap, endStream: boolean, request: UpstreamRequest): void {
    this.answered = true
    const grpcStatus = this.grpc ? headers.get('grpc-status') : undefined
    this.cluster.onResponse(request.host, grpcStatus === undefined ? headers.status : grpcToHttp(grpcStatus))
    this.count(
      headers.status,
      request.host.canary || headers.get('x-envoy-upstream-canary') === 'true',
      request.host.locality.zone,
    )
    if (endStream) this.onEnd(request)
  }
  onUpstreamData(_chunk: Buffer, endStream: boolean, request: UpstreamRequest): void {
    if (endStream) this.onEnd(request)
  }
  onUpstreamTrailers(_trailers: HeaderMap, request: UpstreamRequest): void {
    this.onEnd(request)
  }
  onUpstreamReset(reason: StreamResetReason, _transport: string, request: UpstreamRequest): void {
    this.cluster.onReset(request.host, reason)
    if (!this.answered) this.count(failureOf(reason).status, false, '')
  }
  onUpstreamReady(request: UpstreamRequest): void {
    this.cluster.onConnected(request.host, false)
  }
  onNoHost(): void {}
  onPerTryTimeout(request: UpstreamRequest): void {
    request.abandon()
  }
  onPerTryIdleTimeout(request: UpstreamRequest): void {
    request.abandon()
  }
  onMaxStreamDuration(request: UpstreamRequest): void {
    this.cluster.stats.rqTimeout.inc()
    if (!this.answered) this.count(504, false, '')
    request.abandon()
  }
  onFilterReply({ status }: FilterReply, request: UpstreamRequest): void {
    if (!this.answered) this.count(status, false, '')
    request.abandon()
  }
  onFilterReset(request: UpstreamRequest): void {
    request.abandon()
  }
  pauseDownstream(pause: boolean): void {
    this.pause(pause)
  }
}

/** The request that is copied, where it has a span. */
export interface MirrorTrace {
  readonly request: RequestSpan
  readonly context: LogContext
}

interface MirrorOptions {
  readonly timeoutMs: number
  /** For x-forwarded-for: a copy is a request of the proxy's own. */
  readonly ownAddress: string
  readonly trace: MirrorTrace | null
  /** Of the request that is copied. */
  readonly connection: Connection
  /** Upstream HTTP filters for clusters without their own. */
  readonly upstreamFilters: readonly ChainEntry[]
  /** Bytes that may wait for the copy's connection. */
  readonly bufferLimit: number
  /** A copy takes no more for now, or again: the client waits, or its body would lie here. */
  readonly pause: (pause: boolean) => void
}

/** Starts a copy for each policy that the request's draw selects. `headers` are those sent upstream. */
export function startMirrors(
  mirrors: readonly Mirror[],
  headers: HeaderMap,
  endStream: boolean,
  clusters: ClusterManager,
  info: StreamInfo,
  options: MirrorOptions,
): UpstreamRequest[] {
  const started: UpstreamRequest[] = []
  for (const mirror of mirrors) {
    if (!mirror.selects(info.random)) continue
    const request = startMirror(mirror, headers, endStream, clusters, info, options)
    if (request) started.push(request)
  }
  return started
}

/** null when the mirror's cluster or host is missing. */
function startMirror(
  mirror: Mirror,
  headers: HeaderMap,
  endStream: boolean,
  clusters: ClusterManager,
  info: StreamInfo,
  { timeoutMs, ownAddress, trace, connection, upstreamFilters, bufferLimit, pause }: MirrorOptions,
): UpstreamRequest | null {
  const name = mirror.cluster || headers.get(mirror.clusterHeader) || ''
  const cluster = clusters.get(name)
  const pool = cluster?.httpPool('DEFAULT', info.protocol, loadBalancerContext())
  if (!cluster) return null
  cluster.stats.ownRqTotal.inc()
  if (!pool) {
    cluster.stats.responses.countResponse(503, true, false, '')
    return null
  }
  const copy = headers.clone()
  // How the client spelled them is not known to the proxy's own requests.
  copy.spellings = null
  // Before the host changes: mutations may read it.
  for (const mutation of mirror.headers) mutation.apply(copy, info, copy, null)
  if (mirror.hostRewrite !== '') copy.authority = mirror.hostRewrite
  else if (!mirror.disableHostSuffix) copy.authority = withShadow(copy.authority)
  // It is the proxy's own request.
  copy.set('x-envoy-internal', 'true')
  copy.append('x-forwarded-for', ownAddress)
  const request = new UpstreamRequest(
    new MirrorOwner(cluster, isGrpcContentType(copy.get('content-type')), { bufferLimit, pause }),
    pool,
    copy,
    endStream,
    {
      perTry: 0,
      perTryIdle: 0,
      maxStreamDuration: timeoutMs,
    },
  )
  const filters = cluster.httpFilters ?? upstreamFilters
  if (filters.length > 0)
    request.addFilters(filters, {
      connection,
      streamInfo: infoOf(info, cluster, pool.host),
      bufferLimit,
      route: noRoute,
      answerBeforeEnd: nothing,
    })
  if (trace) {
    request.trace = AttemptSpan.ofMirror(trace.request, trace.context, cluster, pool.host, mirror.traceSampled)
    request.trace.span.inject(copy)
  }
  request.start()
  return request
}

/** What upstream HTTP filters may know of a copy: it is a request of its own. */
function infoOf(
  { downstream, protocol, random }: StreamInfo,
  cluster: ThreadLocalCluster,
  host: HostDescription,
): StreamInfo {
  const info = new StreamInfo(downstream, new FilterState())
  info.startTimeMs = Date.now()
  info.start = now()
  info.protocol = protocol
  info.random = random
  info.attemptCount = 1
  info.upstreamCluster = cluster.name
  info.upstreamClusterStatName = cluster.statName
  info.upstreamClusterMetadata = cluster.metadata
  info.upstreamHost = host
  return info
}

const noRoute = (): null => null
const nothing = (): void => {}

/** `host:port` → `host-shadow:port`; whatever stands behind the last colon is a port to Envoy here. */
function withShadow(authority: string): string {
  const colon = authority.lastIndexOf(':')
  if (colon < 0 || colon < authority.lastIndexOf(']')) return `${authority}-shadow`
  return `${authority.slice(0, colon)}-shadow${authority.slice(colon)}`
}
