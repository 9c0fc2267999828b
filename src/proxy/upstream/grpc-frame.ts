// A message of gRPC over HTTP/2 with its prefix: a byte that says it is not compressed, then its length in four.

export const GRPC_PREFIX_BYTES = 5

/** One message, not compressed. */
export function grpcFrame(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(GRPC_PREFIX_BYTES + message.length)
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, GRPC_PREFIX_BYTES)
  return frame
}
