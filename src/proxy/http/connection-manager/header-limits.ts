// Whether a header block is more than a client may send, pseudo-headers included: what filters make of one may be, too.

import { headerBlockBytes } from '../../observe/format/header-operators.ts'
import type { HeaderMap } from '../header-map.ts'

export function exceedsLimits(headers: HeaderMap, maxCount: number, maxKb: number): boolean {
  const { method, path, authority, scheme, protocol } = headers
  let count = headers.size
  for (const value of [method, path, authority, scheme, protocol]) if (value !== '') count++
  return count > maxCount || headerBlockBytes(headers) > maxKb * 1024
}
