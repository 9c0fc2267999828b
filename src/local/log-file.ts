import { createReadStream, type FSWatcher, statSync, watch } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Writable } from 'node:stream'

const BLOCK = 64 * 1024
const NEWLINE = 10

/** The offset at which the last `lines` lines of a file begin. */
export async function tailOffset(file: string, lines: number): Promise<number> {
  const handle = await open(file, 'r')
  try {
    const { size } = await handle.stat()
    if (lines === 0) return size
    let wanted = lines
    let end = size
    while (end > 0) {
      const start = Math.max(0, end - BLOCK)
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - start), 0, end - start, start)
      for (let i = bytesRead - 1; i >= 0; i--) {
        // The newline that ends the file ends the last line; it does not begin another.
        if (buffer[i] === NEWLINE && start + i !== size - 1 && --wanted === 0) return start + i + 1
      }
      end = start
    }
    return 0
  } finally {
    await handle.close()
  }
}

/** Sends a growing file to `out` until that closes. A file cut short (rotation) is read again from its start. */
export function followFile(file: string, from: number, out: Writable): void {
  let offset = from
  let reading = false
  let again = false
  const pump = () => {
    if (reading) {
      again = true
      return
    }
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
    if (size < offset) offset = 0
    if (size === offset) return
    reading = true
    const stream = createReadStream(file, { start: offset, end: size - 1 })
    stream.on('data', (chunk) => {
      offset += chunk.length
    })
    stream.on('close', () => {
      reading = false
      if (again || offset < size) {
        again = false
        pump()
      }
    })
    stream.on('error', () => stream.destroy())
    stream.pipe(out, { end: false })
  }
  let watcher: FSWatcher
  try {
    watcher = watch(dirname(file), pump)
  } catch {
    out.end() // the pod and its logs are gone
    return
  }
  out.on('close', () => watcher.close())
  pump()
}
