// Layered runtime (envoy-contract §21): plain values on the main thread, a snapshot in every worker.

import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { RuntimeSnapshot } from '../config/extension.ts'

/** A FractionalPercent in millionths, or a scalar. */
export type RuntimeValue = string | number | boolean | { readonly millionths: number }

export interface RuntimeLayer {
  readonly name: string
  readonly values: Readonly<Record<string, RuntimeValue>>
  readonly admin: boolean
}

/** Static and admin layers; Throws ConfigError for disk and rtds layers. */
export function parseRuntimeLayers(bootstrap: Bootstrap): RuntimeLayer[] {
  return (bootstrap.layeredRuntime?.layers ?? []).map((layer, i): RuntimeLayer => {
    const path = `layered_runtime.layers[${i}]`
    const specifier = layer.layerSpecifier
    switch (specifier.case) {
      case 'staticLayer':
        return { name: layer.name, values: flatten(specifier.value), admin: false }
      case 'adminLayer':
        return { name: layer.name, values: {}, admin: true }
      case 'diskLayer':
      case 'rtdsLayer':
        throw new ConfigError(
          `${path}.${specifier.case === 'diskLayer' ? 'disk_layer' : 'rtds_layer'}`,
          'not supported by this proxy; use static_layer',
        )
      default:
        throw new ConfigError(path, 'needs static_layer or admin_layer')
    }
  })
}

const DENOMINATOR: Readonly<Record<string, number>> = { HUNDRED: 10_000, TEN_THOUSAND: 100, MILLION: 1 }

/** Nested objects become dotted keys; an object with a numerator is a FractionalPercent. */
function flatten(value: object, prefix = '', into: Record<string, RuntimeValue> = {}): Record<string, RuntimeValue> {
  for (const [key, one] of Object.entries(value)) {
    const name = prefix ? `${prefix}.${key}` : key
    if (typeof one !== 'object' || one === null) {
      if (one !== null) into[name] = one as RuntimeValue
    } else if (typeof (one as { numerator?: unknown }).numerator === 'number') {
      const { numerator, denominator } = one as { numerator: number; denominator?: string }
      into[name] = { millionths: numerator * (DENOMINATOR[denominator ?? 'HUNDRED'] ?? 10_000) }
    } else flatten(one, name, into)
  }
  return into
}

/** Later layers win. */
export function mergeRuntime(layers: readonly RuntimeLayer[]): Record<string, RuntimeValue> {
  return Object.assign({}, ...layers.map((layer) => layer.values)) as Record<string, RuntimeValue>
}

/** Reads the current values, several for each request: a Map, as the lookup of a computed name in an object is slow. */
export class Runtime implements RuntimeSnapshot {
  private values: ReadonlyMap<string, RuntimeValue>

  constructor(values: Readonly<Record<string, RuntimeValue>>) {
    this.values = new Map(Object.entries(values))
  }

  /** An update: all values there are now. */
  replace(values: Readonly<Record<string, RuntimeValue>>): void {
    this.values = new Map(Object.entries(values))
  }

  number(key: string, fallback: number): number {
    const value = this.values.get(key)
    if (typeof value === 'number') return value
    if (typeof value !== 'string') return fallback
    const parsed = Number(value)
    return Number.isNaN(parsed) ? fallback : parsed
  }

  bool(key: string, fallback: boolean): boolean {
    const value = this.values.get(key)
    if (typeof value === 'boolean') return value
    return value === 'true' ? true : value === 'false' ? false : fallback
  }

  fraction(key: string, fallbackMillionths: number): number {
    const value = this.values.get(key)
    if (typeof value === 'object') return value.millionths
    // An integer is a percentage.
    return typeof value === 'number' ? value * 10_000 : fallbackMillionths
  }
}
