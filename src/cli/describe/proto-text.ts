// Go prints some parts of a VirtualService in protobuf's text format: `delay:{fixed_delay:{seconds:5} percentage:{value:10}}`.

type Fields = Readonly<Record<string, unknown>>

/** Fields in the order of their declaration. */
const ORDER = [
  // HTTPFaultInjection
  'delay',
  'abort',
  'percent',
  'fixedDelay',
  'exponentialDelay',
  'httpStatus',
  'grpcStatus',
  'http2Error',
  'percentage',
  // L4MatchAttributes
  'destinationSubnets',
  'port',
  'sourceSubnet',
  'sourceLabels',
  'gateways',
  'sourceNamespace',
]
const DURATIONS = new Set(['fixedDelay', 'exponentialDelay'])
const MAPS = new Set(['sourceLabels'])
const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 }

/** The fields of a message; of fields that this list does not know nothing. */
export function protoText(message: unknown): string {
  const fields = (message ?? {}) as Fields
  return ORDER.filter((name) => fields[name] !== undefined)
    .map((name) => fieldText(name, fields[name]))
    .join(' ')
}

function fieldText(name: string, value: unknown): string {
  const key = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
  if (Array.isArray(value)) return value.map((inner) => `${key}:${JSON.stringify(inner)}`).join(' ')
  if (DURATIONS.has(name)) return `${key}:{${durationText(String(value))}}`
  if (MAPS.has(name)) {
    return Object.entries(value as Fields)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map((pair) => `${key}:{key:${JSON.stringify(pair[0])} value:${JSON.stringify(pair[1])}}`)
      .join(' ')
  }
  if (name === 'percentage') return `${key}:{value:${Number((value as Fields).value ?? 0)}}`
  return typeof value === 'object' ? `${key}:{${protoText(value)}}` : `${key}:${JSON.stringify(value)}`
}

function durationText(text: string): string {
  let ms = 0
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ms|h|m|s)/g)) ms += Number(amount) * UNITS_MS[unit!]!
  const seconds = Math.floor(ms / 1000)
  const nanos = Math.round((ms - seconds * 1000) * 1_000_000)
  return [...(seconds ? [`seconds:${seconds}`] : []), ...(nanos ? [`nanos:${nanos}`] : [])].join(' ')
}
