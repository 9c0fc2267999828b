import type { GeneratedRequest } from './requests.ts'

/** Headers that HTTP/2 forbids (RFC 9113 §8.2.2): node:http2 would refuse to send them. */
const FORBIDDEN = new Set(['keep-alive', 'proxy-connection', 'te'])

/** A generated request as HTTP/2 can say it. */
export function withoutConnectionHeaders(request: GeneratedRequest): GeneratedRequest {
  const headers = request.headers
    .filter(([name]) => !FORBIDDEN.has(name))
    .map(([name, value]): [string, string] => [name.toLowerCase(), value.trim()])
  return { ...request, headers }
}
