/** A span of time in milliseconds (may be fractional), as parsed from Istio's `1h`, `5s`, `1.5s`, `100ms`. */
export type DurationMs = number

const UNIT_MS: Record<string, number> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 0.001,
  µs: 0.001,
  ns: 0.000001,
}

/** As far as Go's, and Envoy's, 64 bits of nanoseconds reach. */
const MAX_MS = 2 ** 63 / 1e6

/** Parses Go's duration notation (`1h30m`, `1.5s`, `-2ms`, `0`); undefined when it is not one. */
export function parseDuration(text: string): DurationMs | undefined {
  if (text === '0' || text === '+0' || text === '-0') return 0
  const sign = text.startsWith('-') ? -1 : 1
  const body = /^[+-]/.test(text) ? text.slice(1) : text
  if (body === '') return undefined
  const part = /(\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|ns)/y
  let total = 0
  while (part.lastIndex < body.length) {
    const found = part.exec(body)
    if (!found) return undefined
    total += Number(found[1]) * UNIT_MS[found[2]!]!
  }
  return total < MAX_MS ? sign * total : undefined
}
