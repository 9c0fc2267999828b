// Stands between stock Envoy and the control plane: takes its ADS stream on a Unix socket and forwards it, bytes as they are.
import { rmSync } from 'node:fs'
import {
  type Client,
  type Metadata,
  Server,
  type ServerDuplexStream,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js'
import { errorText } from '../base/errors.ts'
import { GRPC_STATUS } from '../base/grpc-status.ts'
import type { Logger } from '../base/logger.ts'
import { listenOnSocket } from './sds.ts'

const SERVICE = '/envoy.service.discovery.v3.AggregatedDiscoveryService'
const METHODS = ['StreamAggregatedResources', 'DeltaAggregatedResources'] as const

export interface XdsProxyOptions {
  readonly socketPath: string
  /** A fresh client to the control plane for every stream. */
  readonly connect: () => Client
  readonly metadata: () => Promise<Metadata>
  readonly log: Logger
}

type Call = ServerDuplexStream<Buffer, Buffer>

/** Starts listening. A broken upstream stream ends Envoy's with the same status; Envoy then reconnects and tells its state. */
export async function startXdsProxy(options: XdsProxyOptions): Promise<{ close(): void }> {
  const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 })
  const same = (bytes: Buffer) => bytes
  const definition: ServiceDefinition = Object.fromEntries(
    METHODS.map((method) => [
      method,
      {
        path: `${SERVICE}/${method}`,
        requestStream: true,
        responseStream: true,
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
      },
    ]),
  )
  const forwardTo = (method: string) => (call: Call) => void forward(call, `${SERVICE}/${method}`, options)
  server.addService(definition, Object.fromEntries(METHODS.map((method) => [method, forwardTo(method)])))
  await listenOnSocket(server, options.socketPath)
  return {
    close: () => {
      server.forceShutdown()
      rmSync(options.socketPath, { force: true })
    },
  }
}

async function forward(call: Call, path: string, options: XdsProxyOptions): Promise<void> {
  const { log } = options
  let ended = false
  let client: Client | null = null
  const end = (code: number, details: string) => {
    if (ended) return
    ended = true
    log.warn({ code, details }, 'xds stream to the control plane ended')
    call.emit('error', { code, details, name: 'GrpcStatusError', message: details })
    client?.close()
  }
  call.on('error', (error) => log.debug({ reason: errorText(error) }, 'xds stream of the proxy ended'))
  try {
    const metadata = await options.metadata()
    // The proxy may have gone meanwhile: nobody would ever end the stream that is opened for it.
    if (call.cancelled) return
    client = options.connect()
    const same = (bytes: Buffer) => bytes
    const upstream = client.makeBidiStreamRequest(path, same, same, metadata)
    upstream.on('error', (error: ServiceError) => end(error.code, error.details))
    upstream.on('end', () => end(GRPC_STATUS.UNAVAILABLE, 'the control plane closed the stream'))
    call.on('cancelled', () => {
      ended = true
      upstream.cancel()
      client?.close()
    })
    // grpc-js's stream types are Node duplex streams, which their declarations do not say.
    call.pipe(upstream as unknown as NodeJS.WritableStream)
    upstream.pipe(call as unknown as NodeJS.WritableStream, { end: false })
  } catch (error) {
    end(GRPC_STATUS.UNAVAILABLE, errorText(error))
  }
}
