// Sends exact bytes and reads until every answer is complete or the peer closes.

import { connect } from 'node:net'

export interface RawResponse {
  readonly status: number
  /** `name: value`, in order. */
  readonly headers: readonly string[]
  readonly body: string
}

/**
 * Writes `bytes` and parses the answers. Ends when all of `methods` are answered (a close-delimited body ends with the
 * connection): Envoy keeps a connection it closes open for up to a second more, which no test should wait for.
 */
export function exchange(port: number, bytes: string, methods: readonly string[]): Promise<RawResponse[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      if (allAnswered(Buffer.concat(chunks), methods)) socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => {
      try {
        resolve(parseResponses(Buffer.concat(chunks), methods))
      } catch (error) {
        reject(error)
      }
    })
    socket.setTimeout(20_000, () =>
      socket.destroy(new Error(`no close after: ${Buffer.concat(chunks).toString('latin1')}`)),
    )
    socket.write(bytes, 'latin1')
  })
}

/** Whether every one of the requests, whose methods these are, has its complete answer in `bytes`. */
export function allAnswered(bytes: Buffer, methods: readonly string[]): boolean {
  try {
    const final = parseResponses(bytes, methods).filter((r) => r.status >= 200)
    const last = final.at(-1)
    if (final.length < methods.length || !last) return false
    const delimited = last.headers.some((h) => /^(content-length|transfer-encoding):/i.test(h))
    return delimited || methods.at(-1) === 'HEAD' || last.status === 204 || last.status === 304
  } catch {
    return false // more bytes are to come
  }
}

/** `methods[i]` is the method of the i-th request: HEAD answers carry no body. */
function parseResponses(bytes: Buffer, methods: readonly string[]): RawResponse[] {
  const responses: RawResponse[] = []
  let at = 0
  while (at < bytes.length) {
    const headEnd = bytes.indexOf('\r\n\r\n', at)
    if (headEnd < 0) throw new Error(`cut head: ${bytes.subarray(at).toString('latin1')}`)
    const [statusLine = '', ...headers] = bytes.subarray(at, headEnd).toString('latin1').split('\r\n')
    const status = Number(statusLine.split(' ')[1])
    at = headEnd + 4
    const header = (name: string): string | undefined =>
      headers
        .find((h) => h.toLowerCase().startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim()
    let body = ''
    if (status >= 200) {
      const method = methods[responses.filter((r) => r.status >= 200).length]
      if (method === 'HEAD' || status === 204 || status === 304) body = ''
      else if (/chunked/i.test(header('transfer-encoding') ?? '')) {
        const end = chunkedEnd(bytes, at)
        body = bytes.subarray(at, end).toString('latin1')
        at = end
      } else {
        const length = header('content-length')
        const end = length === undefined ? bytes.length : at + Number(length)
        if (end > bytes.length) throw new Error('cut body')
        body = bytes.subarray(at, end).toString('latin1')
        at = end
      }
    }
    responses.push({ status, headers, body })
  }
  return responses
}

function chunkedEnd(bytes: Buffer, from: number): number {
  let at = from
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) throw new Error('cut chunk')
    const size = Number.parseInt(bytes.subarray(at, lineEnd).toString('latin1'), 16)
    at = lineEnd + 2
    if (size > 0) {
      at += size + 2
      if (at > bytes.length) throw new Error('cut chunk')
      continue
    }
    while (!bytes.subarray(at, at + 2).equals(Buffer.from('\r\n'))) {
      const trailerEnd = bytes.indexOf('\r\n', at)
      if (trailerEnd < 0) throw new Error('cut trailers')
      at = trailerEnd + 2
    }
    return at + 2
  }
}
