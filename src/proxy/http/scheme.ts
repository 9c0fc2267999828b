// The scheme of a request that came without one, or with one that no HTTP server serves.

import type { HeaderMap } from './header-map.ts'

/** What x-forwarded-proto says, else whether the client's connection is TLS. */
export function schemeOf(headers: HeaderMap, tls: boolean): string {
  return httpScheme(headers.get('x-forwarded-proto') ?? '') || (tls ? 'https' : 'http')
}

/** `text` in lower case, as the case of a scheme says nothing (RFC 9110 §4.2.3); '' = it is not one of HTTP's. */
export function httpScheme(text: string): string {
  if (text === 'http' || text === 'https') return text
  const lower = text.toLowerCase()
  return lower === 'http' || lower === 'https' ? lower : ''
}
