// Helpers for tests that speak real gRPC on a free loopback port.
import { setTimeout as sleep } from 'node:timers/promises'
import { create, toBinary } from '@bufbuild/protobuf'
import { Client, credentials, Server, ServerCredentials } from '@grpc/grpc-js'
import { ClusterSchema } from '../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { createLogger } from '../base/logger.ts'
import { ADS_CHANNEL_OPTIONS } from './client.ts'
import { type EncodedResource, type XdsConnection, type XdsHandler, XdsServer } from './server.ts'

/** Polls until `condition` holds; fails with `what` when it does not within ten seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`timed out waiting for ${what}`)
    await sleep(5)
  }
}

export const silentLog = createLogger('test', 'off')

/** A cluster body without content beyond its name, which is all that transport tests look at. */
export function clusterResource(name: string, version = '1'): EncodedResource {
  return { name, version, body: toBinary(ClusterSchema, create(ClusterSchema, { name, altStatName: version })) }
}

/** What a recording handler saw, in order, as short words. */
export class RecordingHandler implements XdsHandler {
  readonly events: string[] = []
  connection: XdsConnection | null = null
  onSubscribed: (conn: XdsConnection, typeUrl: string, names: readonly string[]) => void = () => {}
  onConnect(conn: XdsConnection): void {
    this.connection = conn
    this.events.push('connect')
  }
  onSubscribe(
    conn: XdsConnection,
    typeUrl: string,
    change: { added: readonly string[]; removed: readonly string[]; first: boolean; wildcard: boolean },
  ): void {
    const words = [
      change.first ? 'first' : '',
      change.wildcard ? '*' : '',
      ...change.added.map((n) => `+${n}`),
      ...change.removed.map((n) => `-${n}`),
    ]
    this.events.push(`subscribe ${short(typeUrl)} ${words.filter((w) => w !== '').join(' ')}`.trim())
    this.onSubscribed(conn, typeUrl, change.added)
  }
  onAck(_conn: XdsConnection, typeUrl: string): void {
    this.events.push(`ack ${short(typeUrl)}`)
  }
  onNack(_conn: XdsConnection, typeUrl: string, _nonce: string, reason: string): void {
    this.events.push(`nack ${short(typeUrl)} ${reason}`)
  }
  onStale(_conn: XdsConnection, typeUrl: string): void {
    this.events.push(`stale ${short(typeUrl)}`)
  }
  onUnsubscribe(_conn: XdsConnection, typeUrl: string): void {
    this.events.push(`unsubscribe ${short(typeUrl)}`)
  }
  onDisconnect(): void {
    this.events.push('disconnect')
    this.connection = null
  }
}

function short(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('.') + 1)
}

/** A plaintext server of ADS or SDS; `port` 0 takes a free one. */
export async function serve(
  handler: XdsHandler,
  port = 0,
  service: 'ads' | 'sds' = 'ads',
): Promise<{ port: number; server: XdsServer; close(): void }> {
  const xds = new XdsServer({ handler, log: silentLog, controlPlane: 'test' })
  const server = new Server()
  xds.mount(server, service)
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, p) =>
      error ? reject(error) : resolve(p),
    ),
  )
  return { port: bound, server: xds, close: () => server.forceShutdown() }
}

/** A transport to a plaintext port on loopback. */
export function connectTo(port: number): { connect(): Client } {
  return { connect: () => new Client(`127.0.0.1:${port}`, credentials.createInsecure(), ADS_CHANNEL_OPTIONS) }
}
