import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import { http } from '../base/node-http.ts'

export interface LocalResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** One request to a port of this pod (admin, metrics, application); rejects when there is no answer in time. */
export function localRequest(
  port: number,
  path: string,
  options: { method?: 'GET' | 'POST'; timeoutMs?: number; headers?: OutgoingHttpHeaders } = {},
): Promise<LocalResponse> {
  const { method = 'GET', timeoutMs = 5000, headers = {} } = options
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: '127.0.0.1', port, path, method, headers, agent: false, timeout: timeoutMs },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        )
      },
    )
    request.on('timeout', () =>
      request.destroy(new Error(`127.0.0.1:${port}${path}: no answer within ${timeoutMs} ms`)),
    )
    request.on('error', reject)
    request.end()
  })
}
