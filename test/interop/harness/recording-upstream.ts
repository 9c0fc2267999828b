// An HTTP/1.1 upstream that remembers byte-exact heads: node:http would tidy them up before a test could look.
// What it answers is decided by the request's own headers, so one upstream serves every case.

import type { AddressInfo } from 'node:net'
import { createServer, type Server, type Socket } from 'node:net'

export interface ReceivedRequest {
  readonly requestLine: string
  /** `name: value`, as received, in order. */
  readonly headers: readonly string[]
  readonly body: string
  /** `name: value` of a chunked body's trailers, if it has any. */
  readonly trailers?: readonly string[]
}

export interface RecordingUpstream {
  readonly port: number
  /** Requests that carried `x-case: id`, in order of arrival. */
  received(id: string): readonly ReceivedRequest[]
  close(): Promise<void>
}

/**
 * `x-answer` decides: `STATUS[,len=N][,chunked][,close][,header=NAME:VALUE][,trailer=NAME:VALUE][,early][,http10][,lf]…`;
 * a body of certain bytes is `hex=BYTES` (`hex=BYTES+BYTES`: in several chunks or DATA frames);
 * `early` sends a 103 first, `http10` answers in that version, `lf` ends lines with a bare LF; `drop` closes without an
 * answer, `reset` with a reset, `hang` never answers, `junk` is no HTTP, `half-head` and the options `short` and `reset`
 * end the connection midway, `extra` sends more than was announced. Several answers separated by `;` are given one per
 * attempt.
 */
export async function startRecordingUpstream(): Promise<RecordingUpstream> {
  const seen = new Map<string, ReceivedRequest[]>()
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    let pending = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      pending = Buffer.concat([pending, chunk])
      for (;;) {
        const parsed = parseRequest(pending)
        if (!parsed) return
        pending = pending.subarray(parsed.length)
        const id = headerOf(parsed.request, 'x-case') ?? ''
        const list = seen.get(id) ?? []
        seen.set(id, list)
        list.push(parsed.request)
        answer(socket, parsed.request, list.length - 1)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    received: (id) => seen.get(id) ?? [],
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resolve())
      }),
  }
}

function headerOf(request: ReceivedRequest, name: string): string | undefined {
  const line = request.headers.find((h) => h.toLowerCase().startsWith(`${name}:`))
  return line?.slice(name.length + 1).trim()
}

function parseRequest(bytes: Buffer): { request: ReceivedRequest; length: number } | null {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) return null
  const [requestLine = '', ...headers] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n')
  const head: ReceivedRequest = { requestLine, headers, body: '' }
  const bodyStart = headEnd + 4
  if (/chunked/i.test(headerOf(head, 'transfer-encoding') ?? '')) return parseChunked(bytes, bodyStart, head)
  const length = Number(headerOf(head, 'content-length') ?? 0)
  if (Number.isNaN(length)) return { request: head, length: bytes.length }
  if (bytes.length < bodyStart + length) return null
  const body = bytes.subarray(bodyStart, bodyStart + length).toString('latin1')
  return { request: { ...head, body }, length: bodyStart + length }
}

function parseChunked(
  bytes: Buffer,
  from: number,
  head: ReceivedRequest,
): { request: ReceivedRequest; length: number } | null {
  let at = from
  let body = ''
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return null
    const size = Number.parseInt(bytes.subarray(at, lineEnd).toString('latin1'), 16)
    at = lineEnd + 2
    if (size === 0) {
      // Trailers, if any, end with an empty line.
      const end = bytes.subarray(at, at + 2).equals(Buffer.from('\r\n')) ? at : bytes.indexOf('\r\n\r\n', at) + 2
      if (end < at || bytes.length < end + 2) return null
      const trailers = bytes.subarray(at, end).toString('latin1').split('\r\n').filter(Boolean)
      return { request: { ...head, body, ...(trailers.length > 0 ? { trailers } : {}) }, length: end + 2 }
    }
    if (bytes.length < at + size + 2) return null
    body += bytes.subarray(at, at + size).toString('latin1')
    at += size + 2
  }
}

/** The parts of an answer's body, one char per byte. */
export function partsOf(hex: string | undefined, length: string | undefined): string[] {
  if (hex === undefined) return ['u'.repeat(Number(length ?? 2))]
  return hex.split('+').map((part) => Buffer.from(part, 'hex').toString('latin1'))
}

function answer(socket: Socket, request: ReceivedRequest, attempt: number): void {
  const answers = (headerOf(request, 'x-answer') ?? '200').split(';')
  const [status = '200', ...options] = (answers[Math.min(attempt, answers.length - 1)] as string).split(',')
  switch (status) {
    case 'drop':
      socket.destroy()
      return
    case 'reset':
      socket.resetAndDestroy()
      return
    case 'hang':
      return
    case 'junk':
      socket.write('junk\r\n\r\n')
      return
    case 'half-head':
      socket.end('HTTP/1.1 200')
      return
  }
  const value = (key: string): string | undefined => options.find((o) => o.startsWith(`${key}=`))?.slice(key.length + 1)
  const bodyless = status === '204' || status === '304' || request.requestLine.startsWith('HEAD ')
  const parts = bodyless ? [] : partsOf(value('hex'), value('len'))
  const body = parts.join('')
  const lines = [`HTTP/1.${options.includes('http10') ? 0 : 1} ${status} Whatever`]
  for (const option of options) if (option.startsWith('header=')) lines.push(option.slice(7).replace(':', ': '))
  const chunked = options.includes('chunked') && !bodyless
  if (chunked) lines.push('transfer-encoding: chunked')
  else if (!bodyless) lines.push(`content-length: ${body.length}`)
  if (options.includes('close')) lines.push('connection: close')
  const trailers = options.filter((o) => o.startsWith('trailer=')).map((o) => `${o.slice(8).replace(':', ': ')}\r\n`)
  const end = `0\r\n${trailers.join('')}\r\n`
  const payload = chunked
    ? `${parts
        .filter(Boolean)
        .map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
        .join('')}${end}`
    : body
  const newline = options.includes('lf') ? '\n' : '\r\n'
  const early = options.includes('early') ? 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n' : ''
  const cut = options.includes('short') || options.includes('reset')
  const text = `${early}${lines.join(newline)}${newline}${newline}`
  const sent = cut ? payload.slice(0, -1) : options.includes('extra') ? `${payload}more` : payload
  socket.write(text + sent, 'latin1', () => {
    if (options.includes('reset')) socket.resetAndDestroy()
  })
  if (options.includes('close') || options.includes('short')) socket.end()
}
