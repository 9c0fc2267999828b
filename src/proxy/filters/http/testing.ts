// Helpers of tests that run one HTTP filter without a connection manager.

import { createLogger } from '../../../base/logger.ts'
import type { HttpFilterExtension, WorkerContext } from '../../config/extension.ts'
import { createParseContext } from '../../config/extension-registry.ts'
import { parseJson } from '../../config/json.ts'
import { checkRules } from '../../config/validate-rules.ts'
import type {
  FilterHeadersStatus,
  ModifyHeaders,
  StreamDecoderFilter,
  StreamDecoderFilterCallbacks,
  StreamEncoderFilter,
  StreamEncoderFilterCallbacks,
  StreamFilter,
} from '../../http/filter.ts'
import { HeaderMap } from '../../http/header-map.ts'
import { MemoryConnection } from '../../http/testing.ts'
import type { Connection } from '../../network/connection.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import type { Route, RouteTable } from '../../route/route.ts'
import { NO_RUNTIME, routes, streamInfo } from '../../route/testing.ts'
import type { ThreadLocalCluster } from '../../upstream/cluster-manager.ts'
import { DnsCaches } from '../../upstream/dynamic-forward-proxy/dns-cache.ts'
import { registerExtensions } from '../register.ts'

export interface LocalReply {
  readonly status: number
  readonly body: string
  readonly headers: HeaderMap
  readonly grpcStatus: number | null
  readonly details: string
}

/** One configured filter and the worker around it. */
export class FilterHarness {
  readonly stats = new StatsStore()
  readonly clusters = new Map<string, ThreadLocalCluster>()
  /** Of all its streams. */
  readonly connection: Connection = new MemoryConnection()
  private readonly dnsCaches = new DnsCaches(this.stats)
  /** Cluster `c` for every path unless a test brings its own. */
  table: RouteTable = routes([{ match: { prefix: '/' }, route: { cluster: 'c' } }])
  private readonly factory: ReturnType<HttpFilterExtension['create']>

  constructor(
    // biome-ignore lint/suspicious/noExplicitAny: the extension knows its own configuration
    extension: HttpFilterExtension<any, any>,
    config: Readonly<Record<string, unknown>>,
    more: Partial<WorkerContext> = {},
  ) {
    const message = parseJson(extension.desc, config, { path: '' })
    checkRules(extension.desc, message, '')
    const parsed: unknown = structuredClone(extension.parse(message, createParseContext(registerExtensions())))
    const context: WorkerContext = {
      workerIndex: 0,
      concurrency: 1,
      clusters: { get: (name) => this.clusters.get(name), dnsCache: (data) => this.dnsCaches.get(data) },
      stats: this.stats,
      log: createLogger('test', 'off'),
      node: { id: 'node-id', cluster: 'node-cluster', zone: '', metadata: {} },
      routeTable: () => null,
      discovered: () => null,
      runtime: NO_RUNTIME,
      createAccessLog: () => ({ log() {} }),
      createHttpFilter: () => () => {},
      drain: { drainClose: () => false, healthCheckFailed: false },
      listener: null,
      ...more,
    }
    this.factory = extension.create(parsed, context, 't')
  }

  stream(): TestStream {
    const stream = new TestStream(this)
    this.factory(stream)
    return stream
  }

  counter(name: string): number {
    return this.stats.counter(`http.t.${name}`).value
  }
}

/** One stream through the filter: what it answered, and whether it let go on. */
export class TestStream {
  readonly info = streamInfo()
  reply: LocalReply | null = null
  /** What the filter made of it. */
  bufferLimit = 1024 * 1024
  continued = 0
  readonly decoders: StreamDecoderFilter[] = []
  readonly encoders: StreamEncoderFilter[] = []
  private readonly harness: FilterHarness
  private requestHeaders: HeaderMap | null = null
  private cached: Route | null = null
  private onReply: (() => void) | null = null
  private onContinue: (() => void) | null = null
  readonly buffered: Buffer[] = []

  constructor(harness: FilterHarness) {
    this.harness = harness
  }

  addStreamDecoderFilter(filter: StreamDecoderFilter): void {
    filter.setDecoderFilterCallbacks(this.callbacks())
    this.decoders.push(filter)
  }

  addStreamEncoderFilter(filter: StreamEncoderFilter): void {
    filter.setEncoderFilterCallbacks(this.callbacks())
    this.encoders.push(filter)
  }

  addStreamFilter(filter: StreamFilter): void {
    this.addStreamDecoderFilter(filter)
    this.addStreamEncoderFilter(filter)
  }

  request(headers: HeaderMap, endStream = true): FilterHeadersStatus {
    this.requestHeaders = headers
    return this.decoders[0]!.decodeHeaders(headers, endStream)
  }

  response(status = 200, fields: Readonly<Record<string, string>> = {}, endStream = true): HeaderMap {
    const headers = new HeaderMap()
    headers.status = status
    for (const [name, value] of Object.entries(fields)) headers.add(name, value)
    this.encoders[0]!.encodeHeaders(headers, endStream)
    return headers
  }

  /** Resolves with the local reply, when one comes. */
  replied(): Promise<LocalReply> {
    return new Promise((resolve) => {
      if (this.reply !== null) resolve(this.reply)
      else this.onReply = () => resolve(this.reply!)
    })
  }

  /** Resolves when the filter resumes the request. */
  resumed(): Promise<void> {
    return new Promise((resolve) => {
      if (this.continued > 0) resolve()
      else this.onContinue = resolve
    })
  }

  destroy(): void {
    for (const filter of this.decoders) filter.onDestroy()
  }

  private callbacks(): StreamDecoderFilterCallbacks & StreamEncoderFilterCallbacks {
    const route = (): Route | null => {
      this.cached ??= this.harness.table.route(this.requestHeaders!, this.info, this.info.random)
      return this.cached
    }
    return {
      connection: this.harness.connection,
      streamInfo: this.info,
      route,
      clearRouteCache: () => {
        this.cached = null
      },
      answerBeforeEnd() {},
      requestHeadersExceedLimits: () => false,
      onRequestTooLarge: () => {
        const reply = { status: 413, body: 'Payload Too Large', headers: new HeaderMap(), grpcStatus: null }
        this.reply = { ...reply, details: 'request_payload_too_large' }
      },
      onFault(error: unknown): void {
        throw error
      },
      resetStream() {},
      perFilterConfig: <T>() => route()?.perFilterConfig(this.filterName) as T | undefined,
      perFilterConfigs: <T>() => (route()?.perFilterConfigs(this.filterName) ?? []) as readonly T[],
      continueDecoding: () => {
        this.continued++
        this.onContinue?.()
      },
      continueEncoding: () => {
        this.continued++
        this.onContinue?.()
      },
      decodingBuffer: () => this.buffered,
      encodingBuffer: () => this.buffered,
      addDecodedData: (chunk) => this.buffered.push(Buffer.from(chunk)),
      addEncodedData: (chunk) => this.buffered.push(Buffer.from(chunk)),
      drainEncodingBuffer: () => Buffer.concat(this.buffered.splice(0)),
      sendLocalReply: (
        status: number,
        body: string,
        modify: ModifyHeaders | null,
        grpcStatus: number | null,
        details: string,
      ) => {
        const headers = new HeaderMap()
        headers.status = status
        modify?.(headers)
        this.reply = { status, body, headers, grpcStatus, details }
        this.onReply?.()
      },
      injectDecodedDataToFilterChain: (chunk) => void this.buffered.push(Buffer.from(chunk)),
      injectEncodedDataToFilterChain: (chunk) => void this.buffered.push(Buffer.from(chunk)),
      requestTrailers: null,
      responseTrailers: null,
      addDecodedTrailers: () => new HeaderMap(),
      addEncodedTrailers: () => new HeaderMap(),
      encode1xxHeaders() {},
      encodeHeaders() {},
      encodeData() {},
      encodeTrailers() {},
      onDecoderFilterAboveWriteBufferHighWatermark() {},
      onDecoderFilterBelowWriteBufferLowWatermark() {},
      onEncoderFilterAboveWriteBufferHighWatermark() {},
      onEncoderFilterBelowWriteBufferLowWatermark() {},
      setDownstreamWatermarkCallbacks() {},
      bufferLimit: 1024 * 1024,
      setBufferLimit: (bytes) => void (this.bufferLimit = bytes),
      reroute: () => null,
      restoreRequest() {},
      recreateStream: () => false,
      requestHeaders: this.requestHeaders!,
    } as StreamDecoderFilterCallbacks & StreamEncoderFilterCallbacks
  }

  /** Key of typed_per_filter_config. */
  filterName = ''
}
