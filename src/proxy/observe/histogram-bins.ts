// Log-linear histogram bins (the layout of libcircllhist, which Envoy uses): two significant decimal digits, so 90 bins
// for every power of ten. Bins hold counts only; quantiles and sums are estimates from them.

/** Bin number → count. Bin numbers grow with the values in the bin. */
export type Bins = Map<number, number>

/** 10^exponent is the unit of a bin's two digits. */
const DIGITS = 100
/** The bin of exactly 0. */
const ZERO_BIN = 0

/** The bin that `value` falls into: digits 10…99 and the exponent, as exponent × 100 + digits. */
export function binOf(value: number): number {
  if (!(value >= 1)) return ZERO_BIN
  let digits = Math.trunc(value)
  if (digits < 10) return digits * 10
  let exponent = 1
  while (digits >= 100) {
    digits = Math.trunc(digits / 10)
    exponent++
  }
  return exponent * DIGITS + digits
}

/** Smallest value of the bin. */
export function binLeft(bin: number): number {
  return bin === ZERO_BIN ? 0 : ((bin % DIGITS) * 10 ** Math.trunc(bin / DIGITS)) / 10
}

/** Extent of the bin; 0 for the bin of zero. */
export function binWidth(bin: number): number {
  return bin === ZERO_BIN ? 0 : 10 ** Math.trunc(bin / DIGITS) / 10
}

/** Adds `count` to a bin. */
export function addToBin(bins: Bins, bin: number, count: number): void {
  bins.set(bin, (bins.get(bin) ?? 0) + count)
}

/** Adds every bin of `from` to `to`. */
export function addBins(to: Bins, from: Bins): void {
  for (const [bin, count] of from) addToBin(to, bin, count)
}

/** Number of recorded values. */
export function sampleCount(bins: Bins): number {
  let count = 0
  for (const n of bins.values()) count += n
  return count
}

/** Estimated sum of the recorded values: every value counts as the point that splits its bin in the ratio left : right. */
export function sampleSum(bins: Bins): number {
  let sum = 0
  for (const bin of sortedBins(bins)) {
    const left = binLeft(bin)
    const width = binWidth(bin)
    const middle = left === 0 ? 0 : left + (width * left) / (left + left + width)
    sum += middle * bins.get(bin)!
  }
  return sum
}

/** Bin numbers in ascending order of value. */
export function sortedBins(bins: Bins): number[] {
  return [...bins.keys()].sort((a, b) => a - b)
}

/**
 * The value below which the fraction `q` of the samples lies, for each of `quantiles` (ascending, 0…1); NaN without
 * samples. Sample number ceil(q·n), at least the first; the samples of one bin are spread evenly inside it, off its edges.
 */
export function quantileValues(bins: Bins, quantiles: readonly number[]): number[] {
  const total = sampleCount(bins)
  if (total === 0) return quantiles.map(() => Number.NaN)
  const order = sortedBins(bins)
  const values: number[] = []
  let i = 0
  let below = 0
  for (const q of quantiles) {
    const sample = Math.max(1, Math.ceil(q * total))
    while (i < order.length - 1 && below + bins.get(order[i]!)! < sample) below += bins.get(order[i++]!)!
    const bin = order[i]!
    values.push(binLeft(bin) + (binWidth(bin) * (sample - below)) / (bins.get(bin)! + 1))
  }
  return values
}

/** How many samples are at most `bound`, for each of `bounds` (ascending). */
export function cumulativeCounts(bins: Bins, bounds: readonly number[]): number[] {
  const order = sortedBins(bins)
  const counts: number[] = []
  let i = 0
  let count = 0
  for (const bound of bounds) {
    while (i < order.length && binLeft(order[i]!) <= bound) count += bins.get(order[i++]!)!
    counts.push(count)
  }
  return counts
}
