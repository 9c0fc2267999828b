// Objects for validation that are wrong in several ways at once: the specs of bases.yaml with random changes. One number
// stands for one case.
import { Draw } from '../differential/generate/draw.ts'
import { instead, objectOf, type ValidationCase, validationBases } from './cases.ts'

/** How many are recorded: case 0 to this. */
export const RANDOM_CASES = 4000

type Json = unknown
type Fields = Record<string, Json>
/** A place in a spec. */
interface Place {
  readonly path: string
  /** The last key of the path. */
  readonly name: string
  readonly value: Json
  /** The spec with another value there; undefined takes it away. */
  readonly with: (value: Json) => Json
}

/** Values of other types than most fields have. */
const STRANGE: readonly Json[] = ['x', '', 7, -1, 1.5, true, null, [], ['x'], [null], {}, { a: 'b' }, [{}], '1s', 1e10]

const MOST_CHANGES = 3

/** The case of a number, the same for ever. */
export function randomCase(number: number): ValidationCase {
  const draw = new Draw(number)
  const { kind, name, spec } = draw.pick(validationBases())
  let changed: Json = spec
  const changes: string[] = []
  for (let left = draw.between(1, MOST_CHANGES); left > 0; left--) {
    const [change, value] = randomChange(draw, changed)
    changed = value
    changes.push(change)
  }
  return { id: `${number} ${kind} ${name}: ${changes.join('; ')}`, kind, object: objectOf(kind, changed) }
}

function randomChange(draw: Draw, spec: Json): [change: string, spec: Json] {
  const places = placesIn(spec)
  const place = draw.pick(places)
  const shown = (value: Json): string => JSON.stringify(value).slice(0, 40)
  switch (draw.between(0, 5)) {
    case 0:
      return place.path === '' ? ['= {}', {}] : [`${place.path} away`, place.with(undefined)]
    case 1: {
      const value = draw.pick(STRANGE)
      return [`${place.path} = ${shown(value)}`, place.with(value)]
    }
    case 2: {
      // What stands under this name somewhere else.
      const others = validationBases().flatMap((base) => placesIn(base.spec))
      const same = others.filter(({ name }) => name === place.name)
      const { value } = same.length > 0 ? draw.pick(same) : place
      return [`${place.path} = ${shown(value)}`, place.with(value)]
    }
    case 3: {
      if (!isFields(place.value)) break
      const { name, value } = draw.pick(placesIn(draw.pick(validationBases()).spec))
      if (name === '' || /^\d+$/.test(name)) break
      return [`${place.path}.${name} = ${shown(value)}`, place.with({ ...place.value, [name]: value })]
    }
    case 4: {
      if (!Array.isArray(place.value) || place.value.length === 0) break
      return [`${place.path} and one of it`, place.with([...place.value, draw.pick(place.value)])]
    }
    default:
  }
  const changes = [...instead(place.value, place.name)]
  if (changes.length === 0) return randomChange(draw, spec)
  const [change, value] = draw.pick(changes)
  return [`${place.path} ${change}`, place.with(value)]
}

function placesIn(spec: Json): Place[] {
  const places: Place[] = []
  const walk = (value: Json, path: string, name: string, put: Place['with']): void => {
    places.push({ path, name, value, with: put })
    if (Array.isArray(value)) {
      for (const [i, one] of value.entries()) {
        walk(one, `${path}[${i}]`, name, (other) =>
          put(other === undefined ? value.toSpliced(i, 1) : value.with(i, other)),
        )
      }
    } else if (isFields(value)) {
      for (const [key, one] of Object.entries(value)) {
        const { [key]: _, ...rest } = value
        walk(one, path === '' ? key : `${path}.${key}`, key, (other) =>
          put(other === undefined ? rest : { ...value, [key]: other }),
        )
      }
    }
  }
  walk(spec, '', '', (other) => other ?? {})
  return places
}

function isFields(value: Json): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
