// What the connection manager does to response headers after the encoder filters (envoy-contract §5.5).

import type { HeaderMap } from '../header-map.ts'
import type { HcmConfig } from './config.ts'

let dateText = ''
let dateSecond = -1

/** RFC 1123 date of this second: formatted once a second, not per response. */
function httpDate(): string {
  const now = Date.now()
  const second = Math.floor(now / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    dateText = new Date(now).toUTCString()
  }
  return dateText
}

/**
 * `upgrade`: the answer accepts an upgrade, so connection and upgrade stay. `requestId` is echoed when the request was
 * traced by force or the configuration says always.
 */
export function mutateResponseHeaders(
  headers: HeaderMap,
  config: HcmConfig,
  upgrade: boolean,
  requestId: string | undefined,
): void {
  const list = headers.list
  let server = false
  let date = false
  for (let i = 0; i < list.length; i += 2) {
    switch (list[i]) {
      case 'connection':
      case 'upgrade':
        if (upgrade) continue
        break
      case 'transfer-encoding':
      case 'keep-alive':
      case 'proxy-connection':
        break
      case 'server':
        server = true
        continue
      case 'date':
        date = true
        continue
      default:
        continue
    }
    headers.remove(list[i]!)
    i -= 2
  }
  if (!date) list.push('date', httpDate())
  if (config.serverHeader === 'OVERWRITE') {
    if (server) headers.set('server', config.serverName)
    else list.push('server', config.serverName)
  } else if (config.serverHeader === 'APPEND_IF_ABSENT' && !server) list.push('server', config.serverName)
  if (requestId !== undefined) headers.set('x-request-id', requestId)
  if (config.via !== '') appendVia(headers, config.via)
}

/** Intermediaries are listed with a space after the comma. */
export function appendVia(headers: HeaderMap, via: string): void {
  const existing = headers.getAll('via')
  headers.set('via', existing === undefined || existing === '' ? via : `${existing}, ${via}`)
}
