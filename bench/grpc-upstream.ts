// A gRPC server without gRPC's library, for the gRPC shapes of load: `/bench.Bench/Unary` answers one message of 1 KiB,
// `/bench.Bench/ServerStream` STREAM_MESSAGES of them, each in a write of its own. node bench/grpc-upstream.ts PORT

import { createServer, type ServerHttp2Stream } from 'node:http2'

export const STREAM_MESSAGES = 20
const MESSAGE = Buffer.alloc(5 + 1024, 'x')
MESSAGE.writeUInt8(0, 0)
MESSAGE.writeUInt32BE(1024, 1)
const HEADERS = { ':status': 200, 'content-type': 'application/grpc' }
const OK = { 'grpc-status': '0' }

function answer(stream: ServerHttp2Stream, messages: number): void {
  if (stream.destroyed) return
  let left = messages
  const next = (): void => {
    if (stream.destroyed) return
    if (left-- > 0) stream.write(MESSAGE, next)
    else stream.end()
  }
  stream.on('error', () => {}) // The client may leave when its time is over.
  stream.on('wantTrailers', () => {
    if (!stream.destroyed) stream.sendTrailers(OK)
  })
  stream.respond(HEADERS, { waitForTrailers: true })
  next()
}

/** `settings`: as many streams as the proxy may want. */
const server = createServer({ settings: { maxConcurrentStreams: 100_000 } })
server.on('stream', (stream, headers) => {
  stream.resume()
  stream.on('end', () => answer(stream, headers[':path'] === '/bench.Bench/ServerStream' ? STREAM_MESSAGES : 1))
})
server.listen(Number(process.argv[2]), '127.0.0.1')
