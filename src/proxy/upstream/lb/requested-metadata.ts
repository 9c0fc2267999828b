// What a request or connection asks of the hosts of a subset.

import type { DynamicMetadata } from '../../network/filter.ts'

type Criteria = Readonly<Record<string, unknown>>

/** `match`: of the route; what filters have left in dynamic metadata under `envoy.lb` lies over it (Envoy). */
export function requestedMetadata(match: Criteria | null, dynamic: DynamicMetadata | null): Criteria | null {
  const own = dynamic?.['envoy.lb']
  return own === undefined ? match : { ...match, ...own }
}
