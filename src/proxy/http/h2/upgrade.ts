// Upgrades cross protocols in HTTP/1.1's form: extended CONNECT (RFC 8441) becomes `Upgrade` on the way up to the
// connection manager and is made again on the way out, so that nothing above asks which protocol it is (envoy-contract §5.7).

import type { HeaderMap } from '../header-map.ts'

/** `:protocol x` CONNECT → GET with `upgrade: x`. */
export function requestToUpgrade(headers: HeaderMap): void {
  headers.method = 'GET'
  headers.list.push('upgrade', headers.protocol, 'connection', 'upgrade')
  headers.protocol = ''
}

/** The upgrade type of a request that asks for one, or ''. */
export function upgradeOf(headers: HeaderMap): string {
  const upgrade = headers.get('upgrade')
  if (upgrade === undefined || upgrade === '') return ''
  const connection = headers.getAll('connection')
  return connection?.toLowerCase().includes('upgrade') ? upgrade : ''
}

/** 200 to an extended CONNECT → 101 with `upgrade: x`. */
export function responseToUpgrade(headers: HeaderMap, type: string): void {
  headers.status = 101
  headers.set('upgrade', type)
  headers.set('connection', 'upgrade')
}
