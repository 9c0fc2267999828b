// An HTTP/2 upstream that remembers what it got, with the answers of recording-upstream.ts.

import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { ReceivedRequest, RecordingUpstream } from './recording-upstream.ts'

/**
 * `x-answer` as there; `close` announces the end of the connection (unless `mayClose` is false: other streams would meet
 * it at a moment of their own), `drop` resets the stream.
 */
export async function startRecordingHttp2Upstream(mayClose = true): Promise<RecordingUpstream> {
  const seen = new Map<string, ReceivedRequest[]>()
  const sessions = new Set<ServerHttp2Session>()
  const server = createServer()
  server.on('session', (session) => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
    session.on('error', () => {})
  })
  server.on('stream', (stream, headers, _flags, raw: string[]) => {
    stream.on('error', () => {})
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      // A reset is an end, too.
      if (stream.aborted || stream.rstCode !== 0) return
      const id = String(headers['x-case'] ?? '')
      const list = seen.get(id) ?? []
      seen.set(id, list)
      list.push(received(raw, Buffer.concat(chunks)))
      answer(stream, headers, list.length - 1, mayClose)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    received: (id) => seen.get(id) ?? [],
    close: () =>
      new Promise((resolve) => {
        for (const session of sessions) session.destroy()
        server.close(() => resolve())
      }),
  }
}

function received(raw: readonly string[], body: Buffer): ReceivedRequest {
  const lines: string[] = []
  for (let i = 0; i < raw.length; i += 2) lines.push(`${raw[i]}: ${raw[i + 1]}`)
  const pseudo = lines.filter((line) => line.startsWith(':')).sort()
  return {
    requestLine: pseudo.join(' '),
    headers: lines.filter((line) => !line.startsWith(':')),
    body: body.toString('latin1'),
  }
}

function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, attempt: number, mayClose: boolean): void {
  const answers = String(headers['x-answer'] ?? '200').split(';')
  const [status = '200', ...options] = answers[Math.min(attempt, answers.length - 1)]!.split(',')
  // Of HTTP/1's ways to answer badly one is left.
  if (['drop', 'reset', 'junk', 'half-head'].includes(status)) {
    stream.close(2)
    return
  }
  if (status === 'hang') return
  const length = options.find((o) => o.startsWith('len='))?.slice(4)
  const bodyless = status === '204' || status === '304' || headers[':method'] === 'HEAD'
  const body = bodyless ? '' : 'u'.repeat(Number(length ?? 2))
  const block: Record<string, string | string[]> = { ':status': status }
  for (const option of options) {
    if (!option.startsWith('header=')) continue
    const [name = '', ...rest] = option.slice(7).split(':')
    const key = name.toLowerCase()
    const value = rest.join(':')
    block[key] = key in block ? [...[block[key]!].flat(), value] : value
  }
  if (!options.includes('chunked') && !bodyless) block['content-length'] = String(body.length)
  if (mayClose && options.includes('close')) stream.session?.close()
  if (options.includes('early')) stream.additionalHeaders({ ':status': 103, link: '</a>' })
  const trailer = options
    .find((o) => o.startsWith('trailer='))
    ?.slice(8)
    .split(':')
  try {
    const rest = { endStream: body === '' && !trailer, sendDate: false, waitForTrailers: trailer !== undefined }
    if (trailer) stream.on('wantTrailers', () => stream.sendTrailers({ [trailer[0]!]: trailer[1]! }))
    stream.respond(block, rest as never)
  } catch {
    // What node:http2 will not send is answered as a stream error.
    stream.close(1)
    return
  }
  if (!stream.writableEnded) stream.end(body)
}
