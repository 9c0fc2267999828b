// Sends requests over HTTP/2 with prior knowledge, all for one port on one connection: a refused request must not end it
// for the others.

import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import type { GeneratedRequest } from '../differential/requests.ts'
import type { RawResponse } from './raw-client.ts'

const sessions = new Map<number, ClientHttp2Session>()

function sessionOf(port: number): ClientHttp2Session {
  let session = sessions.get(port)
  if (session === undefined || session.closed || session.destroyed) {
    session = connect(`http://127.0.0.1:${port}`)
    // The streams say what happened to them.
    session.on('error', () => {})
    sessions.set(port, session)
  }
  return session
}

/** The answer; status 0 and the code in the body when the stream was reset. */
export async function request(
  port: number,
  { method, path, host, headers, body, chunked }: GeneratedRequest,
  id: string,
): Promise<RawResponse[]> {
  const block: OutgoingHttpHeaders = {
    ':method': method,
    ':path': path,
    ':authority': host,
    ':scheme': 'http',
    'x-case': id,
  }
  for (const [name, value] of headers) block[name] = value
  if (body !== '' && !chunked) block['content-length'] = body.length
  const stream = sessionOf(port).request(block, { endStream: body === '' })
  let status = 0
  let lines: string[] = []
  stream.on('response', (received: IncomingHttpHeaders, _flags: number, raw: string[]) => {
    status = Number(received[':status'])
    lines = []
    for (let i = 0; i < raw.length; i += 2) if (raw[i] !== ':status') lines.push(`${raw[i]}: ${raw[i + 1]}`)
  })
  stream.on('error', () => {})
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  if (body !== '') stream.end(body)
  await new Promise((resolve) => stream.on('close', resolve))
  const text = Buffer.concat(chunks).toString('latin1')
  return [{ status, headers: lines, body: status === 0 ? `reset ${stream.rstCode}` : text }]
}
