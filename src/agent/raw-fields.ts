// Fields of parsed YAML, read with an error that names them.
import { ConfigError } from '../base/errors.ts'

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function text(raw: Record<string, unknown>, key: string): string {
  const value = raw[key]
  if (typeof value !== 'string' || value === '')
    throw new ConfigError(key, `must be a non-empty string, is ${JSON.stringify(value)}`)
  return value
}

export function texts(raw: Record<string, unknown>, key: string): string[] {
  const value = raw[key] ?? []
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string'))
    throw new ConfigError(key, 'must be a list of strings')
  return value
}

export function stringMap(raw: Record<string, unknown>, key: string): Record<string, string> {
  const value = raw[key] ?? {}
  if (!isRecord(value) || !Object.values(value).every((item) => typeof item === 'string')) {
    throw new ConfigError(key, 'must be a map of strings')
  }
  return value as Record<string, string>
}

export function count(raw: Record<string, unknown>, key: string): number {
  const value = raw[key]
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw new ConfigError(key, `must be a whole number from 0, is ${JSON.stringify(value)}`)
  }
  return value
}

export function port(raw: Record<string, unknown>, key: string): number {
  const value = count(raw, key)
  if (value > 65_535) throw new ConfigError(key, `must be a port, is ${value}`)
  return value
}

/** Protobuf JSON durations (`5s`, `0.25s`) and Go's (`1m30s`, `500ms`), which Istio's YAML uses. */
export function duration(raw: Record<string, unknown>, key: string): number {
  const value = raw[key]
  const unitMs: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 }
  if (typeof value === 'string' && /^(?:\d+(?:\.\d+)?(?:h|ms|m|s))+$/.test(value)) {
    let ms = 0
    for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)) ms += Number(amount) * unitMs[unit!]!
    return ms
  }
  throw new ConfigError(key, `must be a duration such as "5s", is ${JSON.stringify(value)}`)
}
