// Serves the workload's secret to stock Envoy over SDS on a Unix socket.
import { mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { create, toBinary } from '@bufbuild/protobuf'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { SecretSchema } from '../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { Logger } from '../base/logger.ts'
import type { SecretManager, WorkloadSecret } from '../security/secret-manager.ts'
import {
  type EncodedResource,
  type SubscriptionChange,
  type XdsConnection,
  type XdsHandler,
  XdsServer,
} from '../xds/server.ts'
import { SDS_TYPE } from '../xds/type-urls.ts'
import { DEFAULT_SECRET, ROOT_SECRET } from './secret-names.ts'

/** A running SDS server; `close` also removes the socket. */
export interface SdsServer {
  close(): void
}

/** Listens on `socketPath`; answers a subscription as soon as the secret is there, and again at every rotation. */
export async function startSdsServer(socketPath: string, secrets: SecretManager, log: Logger): Promise<SdsServer> {
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
  readonly #secrets: SecretManager
  readonly #connections = new Set<XdsConnection>()
  readonly #unsubscribe: () => void

  constructor(secrets: SecretManager) {
    this.#secrets = secrets
    this.#unsubscribe = secrets.subscribe((secret) => {
      for (const connection of this.#connections) this.#push(connection, secret)
    })
  }

  onConnect(conn: XdsConnection): void {
    this.#connections.add(conn)
  }

  onSubscribe(conn: XdsConnection, typeUrl: string, _change: SubscriptionChange): void {
    if (typeUrl !== SDS_TYPE) return
    const secret = this.#secrets.current
    // Without a secret yet there is nothing to say; the subscription is answered when it comes.
    if (secret !== null) this.#push(conn, secret)
  }

  onAck(): void {}
  onNack(): void {}

  onDisconnect(conn: XdsConnection): void {
    this.#connections.delete(conn)
  }

  close(): void {
    this.#unsubscribe()
  }

  #push(conn: XdsConnection, secret: WorkloadSecret): void {
    const version = String(secret.notBefore.getTime())
    conn.push(SDS_TYPE, { resources: encodeSecrets(secret, version), removed: [], version, full: true })
  }
}

function encodeSecrets(secret: WorkloadSecret, version: string): EncodedResource[] {
  const inline = (pem: string) => ({ specifier: { case: 'inlineBytes' as const, value: Buffer.from(pem) } })
  const workload = create(SecretSchema, {
    name: DEFAULT_SECRET,
    type: {
      case: 'tlsCertificate',
      value: { certificateChain: inline(secret.certChainPem), privateKey: inline(secret.keyPem) },
    },
  })
  const root = create(SecretSchema, {
    name: ROOT_SECRET,
    type: { case: 'validationContext', value: { trustedCa: inline(secret.rootPem) } },
  })
  return [workload, root].map((message) => ({ name: message.name, version, body: toBinary(SecretSchema, message) }))
}
