// Finds what two proxies do differently: batches of generated traffic, each suspect again on its own, and the smallest
// form of what stays. What differs once and never again was a race of that moment.

import { type BatchResult, type Entry, type Observation, same } from './pair.ts'

const BATCH = 150
const REPLAYS = 2
/** Time to look for a smaller form of one difference, and how many differences get it. */
const SHRINK_MS = Number(process.env.INTEROP_SHRINK_MS ?? 4000)
const SHRINKS = 20

/** What is known of one kind of items: how to make them smaller, how to print them. */
interface Items<T> {
  smaller(item: T): Iterable<T>
  show(item: T): string
}

/** Two proxies that get the same traffic of kind `K`. */
interface Beside<T, K> {
  batch(traffic: K, entries: readonly Entry<T>[]): Promise<BatchResult>
}

export interface Finding<T> {
  readonly entry: Entry<T>
  readonly index: number
  readonly text: string
}

export interface SearchResult<T> {
  readonly findings: readonly Finding<T>[]
  /** Differences that did not come back, for the record. */
  readonly unrepeated: readonly string[]
}

export async function search<T, K>(
  pair: Beside<T, K>,
  traffic: K,
  entries: readonly Entry<T>[],
): Promise<SearchResult<T>> {
  const findings: Finding<T>[] = []
  const unrepeated: string[] = []
  for (let start = 0; start < entries.length; start += BATCH) {
    const batch = entries.slice(start, start + BATCH)
    const result = await pair.batch(traffic, batch)
    const suspects = new Set([...batch.keys()].filter((i) => !same(result.observations[i]!)))
    for (const i of suspects) {
      const text = await again(pair, traffic, batch[i]!)
      if (text === null) unrepeated.push(`#${start + i} ${describeObservation(result.observations[i]!)}`)
      else findings.push({ entry: batch[i]!, index: start + i, text })
    }
    if (result.stats.length === 0) continue
    const rest = [...batch.keys()].filter((i) => !suspects.has(i))
    const culprit = await narrow(pair, traffic, batch, rest)
    if (culprit === null) {
      if (suspects.size === 0) unrepeated.push(result.stats.join(', '))
    } else findings.push({ entry: batch[culprit.i]!, index: start + culprit.i, text: culprit.stats.join('\n') })
  }
  return { findings, unrepeated }
}

/** What differs each time when the entry is sent alone, or null. */
async function again<T, K>(pair: Beside<T, K>, traffic: K, entry: Entry<T>): Promise<string | null> {
  let text: string | null = null
  for (let i = 0; i < REPLAYS; i++) {
    const { observations, stats } = await pair.batch(traffic, [entry])
    if (same(observations[0]!) && stats.length === 0) return null
    text = [describeObservation(observations[0]!), ...stats].join('\n')
  }
  return text
}

/** The entry that alone makes counters grow differently. */
export async function narrow<T, K>(
  pair: Beside<T, K>,
  traffic: K,
  batch: readonly Entry<T>[],
  among: readonly number[],
): Promise<{ i: number; stats: readonly string[] } | null> {
  if (among.length === 0) return null
  const { stats } = await pair.batch(
    traffic,
    among.map((i) => batch[i]!),
  )
  if (stats.length === 0) return null
  if (among.length === 1) return { i: among[0]!, stats }
  const half = among.length >> 1
  return (
    (await narrow(pair, traffic, batch, among.slice(0, half))) ??
    (await narrow(pair, traffic, batch, among.slice(half)))
  )
}

/** The findings, one of each kind, each in the smallest form that was found. */
export async function explain<T, K extends Items<T>>(
  pair: Beside<T, K>,
  traffic: K,
  findings: readonly Finding<T>[],
): Promise<string[]> {
  const out: string[] = []
  for (const finding of oneOfEachKind(findings).slice(0, SHRINKS)) {
    const { item, text } = await shrink(pair, traffic, finding)
    const { index, entry } = finding
    out.push(`#${index} listener ${entry.listener} ${traffic.show(item)}\n${text}`)
  }
  return out
}

async function shrink<T, K extends Items<T>>(
  pair: Beside<T, K>,
  traffic: K,
  { entry, text }: Finding<T>,
): Promise<{ item: T; text: string }> {
  let small = { item: entry.item, text }
  const until = Date.now() + SHRINK_MS
  for (let smaller = true; smaller && Date.now() < until; ) {
    smaller = false
    for (const item of traffic.smaller(small.item)) {
      if (Date.now() > until) break
      const { observations, stats } = await pair.batch(traffic, [{ ...entry, item }])
      if (same(observations[0]!) && stats.length === 0) continue
      small = { item, text: [describeObservation(observations[0]!), ...stats].filter(Boolean).join('\n') }
      smaller = true
      break
    }
  }
  return small
}

/** Told apart by their lines without numbers. */
function oneOfEachKind<T extends { text: string }>(all: readonly T[]): T[] {
  const kinds = new Map<string, T>()
  for (const one of all) {
    const kind = one.text.replace(/\d+/g, '').slice(0, 160)
    if (!kinds.has(kind)) kinds.set(kind, one)
  }
  return [...kinds.values()]
}

/** What differs, as lines. */
export function describeObservation([a, b]: readonly [Observation, Observation]): string {
  return [difference(a.lines, b.lines), difference(a.log, b.log)].filter(Boolean).join('\n')
}

function difference(a: readonly string[], b: readonly string[]): string {
  if (a.join('\n') === b.join('\n')) return ''
  const only = (x: readonly string[], y: readonly string[], mark: string): string[] =>
    x.filter((line) => !y.includes(line)).map((line) => `  ${mark} ${line.slice(0, 500)}`)
  const lines = [...only(a, b, 'envoy    '), ...only(b, a, 'outrigger')]
  if (lines.length > 0) return lines.join('\n')
  const at = (a.length > b.length ? a : b).findIndex((_, i) => a[i] !== b[i])
  const shown = (x: readonly string[]): string => `${x.length} lines, ${at}: ${x[at]?.slice(0, 500)}`
  return `  another order or count:\n  envoy     ${shown(a)}\n  outrigger ${shown(b)}`
}
