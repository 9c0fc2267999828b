// strict_check_headers: x-envoy-* headers that must be well formed, or the request is refused with 400.

import { decimal } from '../../../../base/decimal.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { parseRetryGrpcOn, parseRetryOn } from '../../../route/retry-on.ts'

/** The first of `names` whose value is invalid, or null. */
export function failedStrictHeader(headers: HeaderMap, names: readonly string[]): string | null {
  for (const name of names) {
    const value = headers.get(name)
    if (value !== undefined && !isValid(name, value)) return name
  }
  return null
}

function isValid(name: string, value: string): boolean {
  switch (name) {
    case 'x-envoy-retry-on':
      return value.split(',').every((word) => parseRetryOn(word) !== 0)
    case 'x-envoy-retry-grpc-on':
      return value.split(',').every((word) => parseRetryGrpcOn(word) !== 0)
    default:
      return decimal(value) !== null
  }
}
