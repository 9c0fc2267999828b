// The matchers of inputs that are extensions (envoy.matching.matchers.*): addresses in ranges, shares by hash.

import { ConsistentHashingSchema } from '../../api/gen/envoy/extensions/matching/input_matchers/consistent_hashing/v3/consistent_hashing_pb.js'
import { IpSchema } from '../../api/gen/envoy/extensions/matching/input_matchers/ip/v3/ip_pb.js'
import { RuntimeFractionSchema } from '../../api/gen/envoy/extensions/matching/input_matchers/runtime_fraction/v3/runtime_fraction_pb.js'
import { FractionalPercent_DenominatorType as DenominatorType } from '../../api/gen/envoy/type/v3/percent_pb.js'
import type { TypedExtensionConfig } from '../../api/gen/xds/core/v3/extension_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { type Cidr, cidrContains, parseCidr, parseIp } from '../../base/cidr.ts'
import { ConfigError } from '../../base/errors.ts'
import { xxh64Bytes } from '../../base/hash.ts'
import type { ParseContext, RuntimeSnapshot } from '../config/extension.ts'
import type { Scope } from '../observe/stats.ts'
import type { FractionData } from '../route/config.ts'
import { parseFraction } from '../route/parse-common.ts'
import { inFraction } from '../route/route-match.ts'

export type InputMatcherData =
  | { readonly kind: 'ip'; readonly ranges: readonly Cidr[]; readonly statPrefix: string }
  | { readonly kind: 'hash'; readonly threshold: bigint; readonly modulo: bigint; readonly seed: bigint }
  | {
      readonly kind: 'fraction'
      readonly fraction: FractionData
      /** 100, 10 000 or 1 000 000: a hash falls into one of so many parts. */
      readonly denominator: number
      readonly seed: bigint
    }

/** What matchers read besides the facts. */
export interface MatchEnvironment {
  readonly runtime: RuntimeSnapshot
  /** Where matchers count; null = nowhere. */
  readonly stats: Scope | null
}

/** Throws ConfigError. */
export function parseInputMatcher(matcher: TypedExtensionConfig, context: ParseContext): InputMatcherData {
  const any = matcher.typedConfig
  const typeName = typeNameOf(any?.typeUrl ?? '')
  const at = context.at('typed_config')
  if (any !== undefined && typeName === IpSchema.typeName) {
    const { cidrRanges, statPrefix } = at.unpack(any, IpSchema)
    const ranges = cidrRanges.map(({ addressPrefix, prefixLen }, i) => {
      const range = parseCidr(addressPrefix, prefixLen ?? 0)
      if (range === null)
        throw new ConfigError(at.at(`cidr_ranges[${i}]`).path, `malformed IP range ${addressPrefix}/${prefixLen ?? 0}`)
      return range
    })
    return { kind: 'ip', ranges, statPrefix }
  }
  if (any !== undefined && typeName === ConsistentHashingSchema.typeName) {
    const { threshold, modulo, seed } = at.unpack(any, ConsistentHashingSchema)
    if (threshold >= modulo)
      throw new ConfigError(
        at.at('threshold').path,
        `threshold cannot be greater than modulo: ${threshold} > ${modulo}`,
      )
    return { kind: 'hash', threshold: BigInt(threshold), modulo: BigInt(modulo), seed }
  }
  if (any !== undefined && typeName === RuntimeFractionSchema.typeName) {
    const { runtimeFraction, seed } = at.unpack(any, RuntimeFractionSchema)
    const denominator = DENOMINATOR[runtimeFraction?.defaultValue?.denominator ?? DenominatorType.HUNDRED]
    return { kind: 'fraction', fraction: parseFraction(runtimeFraction)!, denominator, seed }
  }
  throw new ConfigError(
    context.path,
    `no input matcher extension "${matcher.name}" of type ${typeName || '(empty)'} in this proxy; it has ip, consistent_hashing and runtime_fraction`,
  )
}

export function compileInputMatcher(
  data: InputMatcherData,
  { runtime, stats }: MatchEnvironment,
): (value: string) => boolean {
  switch (data.kind) {
    case 'ip': {
      const failed = stats?.scope(data.statPrefix).counter('ip_parsing_failed')
      return (value) => {
        const ip = parseIp(value)
        if (ip !== null) return data.ranges.some((range) => cidrContains(range, ip))
        if (value !== '') failed?.inc()
        return false
      }
    }
    case 'hash':
      return (value) => xxh64Bytes(value, data.seed) % data.modulo >= data.threshold
    case 'fraction': {
      const { fraction, denominator, seed } = data
      const parts = BigInt(denominator)
      const each = MILLION / denominator
      return (value) => inFraction(fraction, runtime, Number(xxh64Bytes(value, seed) % parts) * each)
    }
  }
}

const MILLION = 1_000_000
const DENOMINATOR: Readonly<Record<DenominatorType, number>> = {
  [DenominatorType.HUNDRED]: 100,
  [DenominatorType.TEN_THOUSAND]: 10_000,
  [DenominatorType.MILLION]: MILLION,
}
