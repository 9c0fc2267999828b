// A gRPC service of unary calls that answers as a test says.

import { createServer, type Http2Server, type IncomingHttpHeaders } from 'node:http2'
import { GRPC_PREFIX_BYTES, grpcFrame } from '../../../src/proxy/upstream/grpc-frame.ts'

/** The message of an answer; a `grpc-status` without one; null: no answer at all. */
export type GrpcAnswer = Uint8Array | number | null

/** `answer` gets the message and the request's headers. Listens on a port of its own. */
export function startGrpcService(
  answer: (message: Buffer, headers: IncomingHttpHeaders) => GrpcAnswer,
): Promise<Http2Server> {
  const server = createServer()
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = []
    // A caller that gives up resets the stream.
    stream.on('error', () => {})
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      const result = answer(Buffer.concat(chunks).subarray(GRPC_PREFIX_BYTES), headers)
      if (result === null) return
      const status = typeof result === 'number' ? result : 0
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }))
      stream.end(typeof result === 'number' ? undefined : grpcFrame(result))
    })
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}
