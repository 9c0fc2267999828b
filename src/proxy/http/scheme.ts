// The scheme of a request that came without one, or with one that no HTTP server serves.

import type { HeaderMap } from './header-map.ts'

/** What x-forwarded-proto says, else whether the client's connection is TLS. */
export function schemeOf(headers: HeaderMap, tls: boolean): string {
  const proto = headers.get('x-forwarded-proto')
  if (proto === 'http' || proto === 'https') return proto
  return tls ? 'https' : 'http'
}
