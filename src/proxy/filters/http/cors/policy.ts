// A CORS policy as it holds on one route: fields of the most specific level first (envoy-contract §10.3).

import type { RuntimeSnapshot } from '../../../config/extension.ts'
import type { FractionData } from '../../../route/config.ts'
import type { CorsPolicyData } from '../../../route/cors-policy.ts'
import { inFraction } from '../../../route/route-match.ts'
import { compileStringMatcher, type StringMatch } from '../../../route/string-matcher.ts'

/** `levels` from the least specific; at least one. */
export class CorsPolicy {
  readonly allowMethods: string
  readonly allowHeaders: string
  readonly exposeHeaders: string
  readonly maxAge: string
  readonly allowCredentials: boolean
  readonly allowPrivateNetworkAccess: boolean
  readonly forwardNotMatchingPreflights: boolean
  private readonly origins: readonly StringMatch[]
  private readonly anyOrigin: boolean
  private readonly filterEnabled: FractionData | null
  private readonly shadowEnabled: FractionData | null

  constructor(levels: readonly CorsPolicyData[]) {
    const specific = [...levels].reverse()
    const text = (field: 'allowMethods' | 'allowHeaders' | 'exposeHeaders' | 'maxAge'): string =>
      specific.find((level) => level[field] !== '')?.[field] ?? ''
    const flag = <F extends 'allowCredentials' | 'allowPrivateNetworkAccess' | 'forwardNotMatchingPreflights'>(
      field: F,
    ) => specific.find((level) => level[field] !== null)?.[field] ?? null
    this.allowMethods = text('allowMethods')
    this.allowHeaders = text('allowHeaders')
    this.exposeHeaders = text('exposeHeaders')
    this.maxAge = text('maxAge')
    this.allowCredentials = flag('allowCredentials') ?? false
    this.allowPrivateNetworkAccess = flag('allowPrivateNetworkAccess') ?? false
    this.forwardNotMatchingPreflights = flag('forwardNotMatchingPreflights') ?? true
    const origins = specific.find((level) => level.allowOrigins.length > 0)?.allowOrigins ?? []
    this.anyOrigin = origins.some((origin) => origin.kind === 'exact' && origin.value === '*')
    this.origins = origins.map(compileStringMatcher)
    this.filterEnabled = specific[0]!.filterEnabled
    this.shadowEnabled = specific[0]!.shadowEnabled
  }

  allowsOrigin(origin: string): boolean {
    if (this.anyOrigin) return true
    for (let i = 0; i < this.origins.length; i++) if (this.origins[i]!(origin)) return true
    return false
  }

  enabled(runtime: RuntimeSnapshot, random: number): boolean {
    return this.filterEnabled === null || inFraction(this.filterEnabled, runtime, random)
  }

  shadow(runtime: RuntimeSnapshot, random: number): boolean {
    return this.shadowEnabled !== null && inFraction(this.shadowEnabled, runtime, random)
  }
}
