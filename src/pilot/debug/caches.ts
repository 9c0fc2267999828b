// The debug page of the caches: what is in them, by type.
import type { JsonValue } from '@bufbuild/protobuf'
import type { EncodedResource } from '../../xds/server-types.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import type { EncodedCache } from '../push/encoded-cache.ts'

const TYPES = { cds: CDS_TYPE, eds: EDS_TYPE, lds: LDS_TYPE, rds: RDS_TYPE } as const

/** The caches by type; an entry may stand for several resources, or for the fact that there is none. */
export type ResourceCaches = {
  readonly [K in keyof typeof TYPES]: EncodedCache<EncodedResource | readonly EncodedResource[] | null>
}

/** `/debug/cachez`: names by type; types without any are left out. */
export function cacheNames(caches: ResourceCaches): JsonValue {
  const out: { [type: string]: JsonValue[] } = {}
  for (const [type, { name }] of resources(caches)) (out[type] ??= []).push(name)
  return out
}

/** `/debug/cachez?sizes=true`: bytes by type, and their sum. */
export function cacheSizes(caches: ResourceCaches): JsonValue {
  const bytes: Record<string, number> = {}
  let total = 0
  for (const [type, { body }] of resources(caches)) {
    bytes[type] = (bytes[type] ?? 0) + body.length
    total += body.length
  }
  const sizes = Object.entries(bytes).map(([type, count]) => [type, byteCount(count)])
  return Object.fromEntries([...sizes, ['total', byteCount(total)]])
}

function* resources(caches: ResourceCaches): Generator<[type: string, resource: EncodedResource]> {
  for (const key of Object.keys(TYPES) as (keyof typeof TYPES)[]) {
    for (const value of caches[key].values()) {
      for (const resource of value === null ? [] : [value].flat()) yield [TYPES[key], resource]
    }
  }
}

const UNITS = 'kMGTPE'

/** `999B`, `1.5kB`: powers of 1000. */
export function byteCount(count: number): string {
  if (count < 1000) return `${count}B`
  let unit = 0
  while (Math.trunc(count / 1000 ** (unit + 2)) >= 1 && unit < UNITS.length - 1) unit++
  return `${(count / 1000 ** (unit + 1)).toFixed(1)}${UNITS[unit]}B`
}
