// Host normalisation before routing: ports and the trailing dot (envoy-contract §5.1).

import type { HeaderMap } from '../header-map.ts'
import type { HcmConfig } from './config.ts'

/** `listenerPort` decides what "matching" is. */
export function normalizeHost(
  headers: HeaderMap,
  config: Pick<HcmConfig, 'stripPort' | 'stripTrailingHostDot'>,
  listenerPort: number,
): void {
  if (config.stripTrailingHostDot) headers.authority = withoutTrailingDot(headers.authority)
  if (config.stripPort === 'none') return
  const colon = portColon(headers.authority)
  if (colon < 0) return
  if (config.stripPort === 'any' || Number(headers.authority.slice(colon + 1)) === listenerPort) {
    headers.authority = headers.authority.slice(0, colon)
  }
}

function withoutTrailingDot(authority: string): string {
  const colon = portColon(authority)
  const end = colon < 0 ? authority.length : colon
  return end > 0 && authority[end - 1] === '.' ? authority.slice(0, end - 1) + authority.slice(end) : authority
}

/** Where `:port` begins, or -1. Colons inside an IPv6 literal do not count. */
function portColon(authority: string): number {
  const colon = authority.lastIndexOf(':')
  if (colon < 0 || authority.endsWith(']')) return -1
  if (colon < authority.lastIndexOf(']')) return -1
  for (let i = colon + 1; i < authority.length; i++) {
    const c = authority.charCodeAt(i)
    if (c < 48 || c > 57) return -1
  }
  return colon + 1 < authority.length ? colon : -1
}
