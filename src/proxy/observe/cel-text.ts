// Values of CEL as `%CEL(…)%` prints them, where that is not their JSON: as Envoy's C++ library does.

const UNITS = [
  ['h', 3_600_000_000_000n],
  ['m', 60_000_000_000n],
] as const

/** `1h2m3.5s`, `10.25ms`, `707.441us`, `30ns`, `0`: absl::FormatDuration. */
export function durationText(nanoseconds: bigint): string {
  if (nanoseconds === 0n) return '0'
  const sign = nanoseconds < 0n ? '-' : ''
  let rest = nanoseconds < 0n ? -nanoseconds : nanoseconds
  if (rest < 1_000n) return `${sign}${rest}ns`
  if (rest < 1_000_000n) return `${sign}${decimal(rest, 1_000n)}us`
  if (rest < 1_000_000_000n) return `${sign}${decimal(rest, 1_000_000n)}ms`
  let text = sign
  for (const [unit, size] of UNITS) {
    if (rest >= size) text += `${rest / size}${unit}`
    rest %= size
  }
  return rest === 0n ? text : `${text}${decimal(rest, 1_000_000_000n)}s`
}

function decimal(value: bigint, unit: bigint): string {
  const fraction = (value % unit)
    .toString()
    .padStart(unit.toString().length - 1, '0')
    .replace(/0+$/, '')
  return fraction === '' ? `${value / unit}` : `${value / unit}.${fraction}`
}

/** RFC 3339 with an offset, and as many digits of a second as there are. */
export function timestampText(seconds: bigint, nanos: number): string {
  const fraction = nanos === 0 ? '' : `.${String(nanos).padStart(9, '0').replace(/0+$/, '')}`
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}${fraction}+00:00`
}
