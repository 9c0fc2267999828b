// Messages in pieces over grpc-js: written to the HTTP/2 stream as they are. grpc-js itself joins header and message in a
// new buffer for every stream, which for pushes to many proxies costs more than everything else.
import type { ServerHttp2Stream } from 'node:http2'
import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js'
import { errorText } from '../base/errors.ts'
import { GRPC_STATUS } from '../base/grpc-status.ts'

/** A response message in pieces. */
export type Pieces = readonly Buffer[]

/** For the `interceptors` of a server: its calls may write {@link Pieces}. */
export const framedMessages: ServerInterceptor = (_method, call) => {
  const stream = streamOf(call)
  return stream === null ? new ServerInterceptingCall(call) : new FramedCall(call, stream)
}

/** grpc-js keeps its stream private; without one its own way of writing remains. */
function streamOf(call: ServerInterceptingCallInterface): ServerHttp2Stream | null {
  const { stream } = call as unknown as { stream?: ServerHttp2Stream }
  return typeof stream?.cork === 'function' && typeof stream.write === 'function' ? stream : null
}

/** Joins the pieces where they cannot be written one by one. */
export function joinPieces(message: Pieces): Buffer {
  return message.length === 1 ? message[0]! : Buffer.concat(message)
}

class FramedCall extends ServerInterceptingCall {
  readonly #call: ServerInterceptingCallInterface
  readonly #stream: ServerHttp2Stream

  constructor(call: ServerInterceptingCallInterface, stream: ServerHttp2Stream) {
    super(call)
    this.#call = call
    this.#stream = stream
  }

  override sendMessage(message: unknown, done: () => void): void {
    if (!Array.isArray(message)) {
      super.sendMessage(message, done)
      return
    }
    if (this.#stream.destroyed || this.#stream.closed) return
    // Only the first time headers are sent.
    this.#call.sendMetadata(new Metadata())
    writePieces(this.#stream, message as Pieces, (error) => {
      if (!error) done()
      else this.#call.sendStatus({ code: GRPC_STATUS.INTERNAL, details: `Error writing message: ${errorText(error)}` })
    })
  }
}

/** Length-prefixed message: a byte for "not compressed", four for the length. */
function writePieces(stream: ServerHttp2Stream, pieces: Pieces, written: (error?: Error | null) => void): void {
  let length = 0
  for (const piece of pieces) length += piece.length
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(length, 1)
  stream.cork()
  stream.write(prefix)
  for (let i = 0; i < pieces.length - 1; i++) stream.write(pieces[i]!)
  stream.write(pieces.at(-1)!, written)
  stream.uncork()
}
