// gRPC-Web frames: a flag byte, four bytes of length, the message or, with the first bit of the flags, the trailers.

import type { HeaderMap } from '../../../http/header-map.ts'

const HEADER_BYTES = 5
const TRAILERS_FLAG = 0x80
const EMPTY: Buffer = Buffer.alloc(0)

/** Trailers as the last frame of a body. */
export function trailersFrame(trailers: HeaderMap): Buffer {
  const { list } = trailers
  let lines = ''
  for (let i = 0; i < list.length; i += 2) lines += `${list[i]}:${list[i + 1]}\r\n`
  const frame = Buffer.alloc(HEADER_BYTES + lines.length)
  frame[0] = TRAILERS_FLAG
  frame.writeUInt32BE(lines.length, 1)
  frame.write(lines, HEADER_BYTES, 'latin1')
  return frame
}

/** Makes text of a gRPC body: each frame is Base64 of its own, once all of it is here. */
export class WholeFrames {
  private parts: Buffer[] = []
  private bytes = 0
  /** Fewer bytes than this complete no frame. */
  private needed = HEADER_BYTES

  /** The text of the frames that the chunk completed. */
  encode(chunk: Buffer): Buffer {
    this.bytes += chunk.length
    if (this.bytes < this.needed) {
      this.parts.push(Buffer.from(chunk))
      return EMPTY
    }
    const all = this.parts.length > 0 ? Buffer.concat([...this.parts, chunk]) : chunk
    let text = ''
    let at = 0
    while (all.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + all.readUInt32BE(at + 1)
      if (end > all.length) break
      text += all.toString('base64', at, end)
      at = end
    }
    this.bytes = all.length - at
    this.needed = HEADER_BYTES + (this.bytes < HEADER_BYTES ? 0 : all.readUInt32BE(at + 1))
    this.parts = this.bytes > 0 ? [Buffer.from(all.subarray(at))] : []
    return Buffer.from(text, 'latin1')
  }
}
