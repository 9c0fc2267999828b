// Helpers of tests that use clusters without a proxy around them.

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { createLogger } from '../../base/logger.ts'
import { createParseContext } from '../config/extension-registry.ts'
import { parseJson } from '../config/json.ts'
import { checkRules } from '../config/validate-rules.ts'
import { registerExtensions } from '../filters/register.ts'
import { Protocol, type RequestEncoder, type ResponseDecoder, type StreamResetReason } from '../http/codec.ts'
import { HeaderMap } from '../http/header-map.ts'
import { SecretStore } from '../network/tls/secret-store.ts'
import { StatsStore } from '../observe/stats-store.ts'
import { NO_RUNTIME } from '../route/testing.ts'
import type {
  HttpPoolCallbacks,
  LoadBalancerContext,
  PoolFailureReason,
  ThreadLocalCluster,
} from './cluster-manager.ts'
import type { ClusterData, EndpointsData } from './config.ts'
import type { HostDescription } from './host.ts'
import { parseCluster } from './parse-cluster.ts'
import { parseEndpoints } from './parse-endpoints.ts'
import { ALONE, type Peers } from './peers.ts'
import { WorkerClusters } from './worker-clusters.ts'

/** Parsed as the main thread does, cloned as a worker gets it. */
export function clusterData(config: Readonly<Record<string, unknown>>): ClusterData {
  const message = parseJson(ClusterSchema, config, { path: '' })
  checkRules(ClusterSchema, message, '')
  return structuredClone(parseCluster(message, createParseContext(registerExtensions())))
}

export function endpointsData(config: Readonly<Record<string, unknown>>): EndpointsData {
  const message = parseJson(ClusterLoadAssignmentSchema, config, { path: '' })
  checkRules(ClusterLoadAssignmentSchema, message, '')
  return structuredClone(parseEndpoints(message, false, createParseContext(registerExtensions())))
}

export function endpoint(port: number, extra: Readonly<Record<string, unknown>> = {}, address = '127.0.0.1'): object {
  return { endpoint: { address: { socket_address: { address, port_value: port } } }, ...extra }
}

/** A STATIC cluster `c` of loopback ports. */
export function staticCluster(ports: readonly number[], more: Readonly<Record<string, unknown>> = {}): ClusterData {
  return clusterData({
    name: 'c',
    type: 'STATIC',
    load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: ports.map((port) => endpoint(port)) }] },
    ...more,
  })
}

/** A worker's clusters and the stats they count into. */
export class TestClusters {
  readonly stats = new StatsStore()
  readonly clusters: WorkerClusters

  constructor(runtime = NO_RUNTIME, peers: Peers = ALONE) {
    this.clusters = new WorkerClusters({
      stats: this.stats,
      log: createLogger('test', 'off'),
      secrets: new SecretStore(),
      runtime,
      node: { id: 'n', cluster: 'c', zone: '', metadata: {} },
      workerIndex: 0,
      peers,
      openLog: (path) => {
        throw new Error(`no log ${path} in these tests`)
      },
      uncounted: new StatsStore(() => false).scope('uncounted'),
      createUpstreamFilter: (parsed) => {
        throw new Error(`no upstream filter ${parsed.name} in these tests`)
      },
      createUpstreamHttpFilter: (parsed) => {
        throw new Error(`no upstream HTTP filter ${parsed.name} in these tests`)
      },
    })
  }

  add(data: ClusterData, endpoints: EndpointsData | null = null): ThreadLocalCluster {
    this.clusters.applyCluster(data, endpoints)
    return this.clusters.newest(data.name)!
  }

  /** A counter or gauge of cluster `c`. */
  value(name: string): number {
    const full = `cluster.c.${name}`
    return /_active$|_open$|remaining_|membership_(?:total|healthy)/.test(name)
      ? this.stats.gauge(full).value
      : this.stats.counter(full).value
  }
}

export function lbContext(more: Partial<LoadBalancerContext> = {}): LoadBalancerContext {
  return {
    hash: null,
    hashSource: null,
    metadataMatch: null,
    downstream: null,
    headers: null,
    shouldSelectAnotherHost: null,
    hostSelectionRetryCount: 0,
    attempt: 0,
    overrideHost: null,
    alpnOverride: null,
    sniOverride: null,
    ...more,
  }
}

/** Address of the host that a request would go to. */
export function chosen(cluster: ThreadLocalCluster, more: Partial<LoadBalancerContext> = {}): string | null {
  return cluster.httpPool('DEFAULT', '', lbContext(more))?.host.address.text ?? null
}

/** One request through a pool; what happened is in its fields, `done` resolves at its end. */
export class TestRequest implements ResponseDecoder, HttpPoolCallbacks {
  status = 0
  body = ''
  reset: StreamResetReason | null = null
  failure: PoolFailureReason | null = null
  transportFailure = ''
  host: HostDescription | null = null
  encoder: RequestEncoder | null = null
  connectionId = 0
  readonly done: Promise<void>
  readonly ready: Promise<void>
  private finish!: () => void
  private onReady!: () => void
  private readonly headers = new HeaderMap()

  constructor(cluster: ThreadLocalCluster, path = '/', authority = 'c', more: Partial<LoadBalancerContext> = {}) {
    const { headers } = this
    headers.method = 'GET'
    headers.path = path
    headers.authority = authority
    headers.scheme = 'http'
    this.done = new Promise((resolve) => (this.finish = resolve))
    this.ready = new Promise((resolve) => (this.onReady = resolve))
    const pool = cluster.httpPool('DEFAULT', Protocol.Http11, lbContext({ headers, ...more }))
    if (pool === null) throw new Error('no host')
    pool.newStream(this, this)
  }

  onPoolReady(encoder: RequestEncoder, host: HostDescription, connection: { readonly id: number }): void {
    this.encoder = encoder
    this.host = host
    this.connectionId = connection.id
    encoder.stream.callbacks = {
      onResetStream: (reason) => {
        this.reset = reason
        this.finish()
      },
      onAboveWriteBufferHighWatermark() {},
      onBelowWriteBufferLowWatermark() {},
    }
    encoder.encodeHeaders(this.headers, true)
    this.onReady()
  }

  onPoolFailure(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void {
    this.failure = reason
    this.transportFailure = transportFailureReason
    this.host = host
    this.finish()
  }

  decode1xxHeaders(): void {}

  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.status = headers.status
    if (endStream) this.finish()
  }

  decodeData(chunk: Buffer, endStream: boolean): void {
    this.body += chunk.toString()
    if (endStream) this.finish()
  }

  decodeTrailers(): void {
    this.finish()
  }
}

/** An HTTP server on a loopback port of its own; answers its port unless `handle` does. */
export async function httpServer(
  handle?: Parameters<typeof createServer>[1],
): Promise<{ port: number; server: Server }> {
  const server = createServer(handle ?? ((_, response) => response.end(String((server.address() as AddressInfo).port))))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, server }
}
