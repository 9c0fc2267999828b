import { request as send } from '../harness/http2-client.ts'
import { compareProxies } from './compare.ts'

/** Headers that HTTP/2 forbids (RFC 9113 §8.2.2): node:http2 would refuse to send them. */
const FORBIDDEN = new Set(['keep-alive', 'proxy-connection', 'te'])

compareProxies('HTTP/2', send, (request) => ({
  ...request,
  headers: request.headers
    .filter(([name]) => !FORBIDDEN.has(name))
    .map(([name, value]): [string, string] => [name.toLowerCase(), value.trim()]),
}))
