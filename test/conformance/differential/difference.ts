import type { JsonValue } from '@bufbuild/protobuf'
import type { Answered, Answers } from '../ads.ts'
import { compareJson } from '../compare.ts'
import { nameOf, normalize } from '../normalize.ts'

/** Where our answer to a proxy is not istiod's. */
export interface Difference {
  /** The first places, as `path: got …, want …`. */
  readonly lines: readonly string[]
  /** The kind of place, without names and numbers: equal for differences of one cause, as far as can be seen. */
  readonly signature: string
}

function ordered(list: readonly JsonValue[]): JsonValue[] {
  const keyed = list.map(normalize).map((value) => [nameOf(value), JSON.stringify(value), value] as const)
  return keyed.sort((a, b) => (a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]) ? -1 : 1)).map(([, , value]) => value)
}

/** Differences of two sets of answers, at most one a type. */
export function differences(ours: Answers, theirs: Answers, proxyType: string): Difference[] {
  const out: Difference[] = []
  for (const type of Object.keys(theirs) as Answered[]) {
    // Routes and endpoints are asked for by names that listeners and clusters gave.
    const lines = compareJson(ordered(ours[type]), ordered(theirs[type]), 12)
    if (lines.length === 0) continue
    out.push({ lines, signature: signatureOf(type, lines[0]!, proxyType) })
  }
  return out
}

function signatureOf(type: string, line: string, proxyType: string): string {
  const path = /^(.*?): got /.exec(line)?.[1] ?? line
  const what =
    /: got (\d+ entries|nothing)/.exec(line)?.[1] === 'nothing'
      ? 'missing'
      : /want nothing/.test(line)
        ? 'extra'
        : /entries/.test(line)
          ? 'count'
          : 'value'
  return `${proxyType} ${type} ${path.replace(/\[[^\]]*\]/g, '[]')} ${what}`
}
