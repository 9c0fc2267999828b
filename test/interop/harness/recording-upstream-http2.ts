// An HTTP/2 upstream that remembers what it got, with the answers of recording-upstream.ts.

import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { partsOf, type ReceivedRequest, type RecordingUpstream } from './recording-upstream.ts'

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
  const value = (key: string): string | undefined => options.find((o) => o.startsWith(`${key}=`))?.slice(key.length + 1)
  const bodyless = status === '204' || status === '304' || headers[':method'] === 'HEAD'
  const parts = bodyless ? [] : partsOf(value('hex'), value('len'))
  const body = parts.join('')
  const block: Record<string, string | string[]> = { ':status': status }
  for (const option of options) {
    if (!option.startsWith('header=')) continue
    const [name = '', ...rest] = option.slice(7).split(':')
    const key = name.toLowerCase()
    const text = rest.join(':')
    block[key] = key in block ? [...[block[key]!].flat(), text] : text
  }
  if (!options.includes('chunked') && !bodyless) block['content-length'] = String(body.length)
  if (mayClose && options.includes('close')) stream.session?.close()
  if (options.includes('early')) stream.additionalHeaders({ ':status': 103, link: '</a>' })
  const trailers = options.flatMap((o): [string, string][] => {
    if (!o.startsWith('trailer=')) return []
    const [name = '', ...rest] = o.slice(8).split(':')
    return [[name, rest.join(':')]]
  })
  try {
    const rest = {
      endStream: body === '' && trailers.length === 0,
      sendDate: false,
      waitForTrailers: trailers.length > 0,
    }
    if (trailers.length > 0) stream.on('wantTrailers', () => stream.sendTrailers(Object.fromEntries(trailers)))
    stream.respond(block, rest as never)
  } catch {
    // What node:http2 will not send is answered as a stream error.
    stream.close(1)
    return
  }
  if (stream.writableEnded) return
  for (const part of parts.slice(0, -1)) stream.write(part, 'latin1')
  stream.end(parts.at(-1) ?? '', 'latin1')
}
