// Random edits of JSON documents, whatever they mean.

import { setOwnValue } from '../../src/base/own-property.ts'
import type { Json } from '../interop/config/mutate.ts'
import type { Random } from './random.ts'

const EDGES: readonly Json[] = [
  null, true, 0, -1, 1e10, 1.5, '', 'x', '0s', '-1s', '1e3', '%REQ(', '*', 'a'.repeat(2000), '\u0000', [], {}, [{}], [null],
  { '@type': 'type.googleapis.com/google.protobuf.Struct' },
] // biome-ignore format: one list

/** Of every object's prototype, and odd ones. */
const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '', 'a.b', '@type', '*']

type Container = Json[] | { [key: string]: Json }
const isContainer = (value: Json | undefined): value is Container => typeof value === 'object' && value !== null

/** A place somewhere in `json`: a container and one of its keys. */
function place(random: Random, json: Json): readonly [at: Container, key: string] | null {
  let at = json
  for (;;) {
    if (!isContainer(at)) return null
    const keys = Object.keys(at)
    if (keys.length === 0) return null
    const key = random.pick(keys)
    const inner = (at as Record<string, Json>)[key]
    if (!isContainer(inner) || Object.keys(inner).length === 0 || random.next() < 0.15) return [at, key]
    at = inner
  }
}

/** Changes `json` in place: a value set, taken away, taken from `donor`, or doubled; now and then under a name that every object has. */
export function edit(random: Random, json: Json, donor: Json): void {
  const found = place(random, json)
  if (found === null) return
  const [at, key] = found
  const fields = at as Record<string, Json>
  switch (random.below(4)) {
    case 0:
      fields[key] = random.pick(EDGES)
      break
    case 1:
      if (Array.isArray(at)) at.splice(Number(key), 1)
      else delete at[key]
      break
    case 2: {
      const other = place(random, donor)
      if (other !== null) fields[key] = structuredClone((other[0] as Record<string, Json>)[other[1]]!)
      break
    }
    default:
      if (Array.isArray(at)) at.push(structuredClone(at[Number(key)]!))
      else
        setOwnValue(
          at,
          random.next() < 0.3 ? random.pick(NAMES) : random.pick(Object.keys(at)),
          structuredClone(at[key]!),
        )
  }
}
