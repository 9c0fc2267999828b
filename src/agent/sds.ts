// Serves the secrets of a workload to stock Envoy over SDS on a Unix socket.
import { mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { create, toBinary } from '@bufbuild/protobuf'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { SecretSchema } from '../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { Logger } from '../base/logger.ts'
import type { SecretSource, SecretValue } from '../proxy/index.ts'
import {
  type EncodedResource,
  type SubscriptionChange,
  type XdsConnection,
  type XdsHandler,
  XdsServer,
} from '../xds/server.ts'
import { SDS_TYPE } from '../xds/type-urls.ts'

/** A running SDS server; `close` also removes the socket. */
export interface SdsServer {
  close(): void
}

/** Listens on `socketPath`; answers a subscription as soon as the secret is there, and again at every rotation. */
export async function startSdsServer(socketPath: string, secrets: SecretSource, log: Logger): Promise<SdsServer> {
  const handler = new SdsHandler(secrets)
  const xds = new XdsServer({ handler, log })
  const server = new Server()
  xds.mount(server, 'sds')
  await listenOnSocket(server, socketPath)
  return {
    close: () => {
      handler.close()
      server.forceShutdown()
      rmSync(socketPath, { force: true })
    },
  }
}

/** Binds a gRPC server to a Unix socket, replacing what an earlier process left. */
export async function listenOnSocket(server: Server, socketPath: string): Promise<void> {
  mkdirSync(dirname(socketPath), { recursive: true })
  rmSync(socketPath, { force: true })
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    ),
  )
}

class SdsHandler implements XdsHandler {
  readonly #secrets: SecretSource
  /** Of each connection, the ends of the watches by the names of their secrets. */
  readonly #watches = new Map<XdsConnection, Map<string, () => void>>()
  #version = 0

  constructor(secrets: SecretSource) {
    this.#secrets = secrets
  }

  onConnect(conn: XdsConnection): void {
    this.#watches.set(conn, new Map())
  }

  /** A secret that is not there yet is answered when it comes. */
  onSubscribe(conn: XdsConnection, typeUrl: string, change: SubscriptionChange): void {
    const watches = this.#watches.get(conn)
    if (typeUrl !== SDS_TYPE || watches === undefined) return
    for (const name of [...change.removed, ...change.added]) endWatch(watches, name)
    for (const name of change.added)
      watches.set(
        name,
        this.#secrets.watch(name, (secret) => this.#push(conn, name, secret)),
      )
  }

  onUnsubscribe(conn: XdsConnection, typeUrl: string): void {
    if (typeUrl === SDS_TYPE) endWatches(this.#watches.get(conn))
  }

  onAck(): void {}
  onNack(): void {}

  onDisconnect(conn: XdsConnection): void {
    endWatches(this.#watches.get(conn))
    this.#watches.delete(conn)
  }

  close(): void {
    for (const watches of this.#watches.values()) endWatches(watches)
    this.#watches.clear()
  }

  #push(conn: XdsConnection, name: string, secret: SecretValue): void {
    const version = `${Date.now()}-${++this.#version}`
    const resource: EncodedResource = { name, version, body: encodeSecret(name, secret) }
    conn.push(SDS_TYPE, { resources: [resource], removed: [], version, full: false })
  }
}

function endWatch(watches: Map<string, () => void>, name: string): void {
  watches.get(name)?.()
  watches.delete(name)
}

function endWatches(watches: Map<string, () => void> | undefined): void {
  for (const end of watches?.values() ?? []) end()
  watches?.clear()
}

function encodeSecret(name: string, { certificateChain, privateKey, trustedCa }: SecretValue): Uint8Array {
  const inline = (pem = '') => ({ specifier: { case: 'inlineBytes' as const, value: Buffer.from(pem, 'latin1') } })
  return toBinary(
    SecretSchema,
    create(SecretSchema, {
      name,
      type:
        certificateChain === undefined
          ? { case: 'validationContext', value: { trustedCa: inline(trustedCa) } }
          : {
              case: 'tlsCertificate',
              value: { certificateChain: inline(certificateChain), privateKey: inline(privateKey) },
            },
    }),
  )
}
