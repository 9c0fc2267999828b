// Objects for validation: the specs of bases.yaml, whole and with one thing changed at a time.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { type IstioKind, KINDS } from '../../../src/config/index.ts'

export const RECORDED: string = join(import.meta.dirname, 'recorded.json')

export interface ValidationCase {
  /** The base and the change: `Gateway http: servers[0].bind = ""`. */
  readonly id: string
  readonly kind: IstioKind
  readonly object: object
}

/** What is said of a case: `taken`, `warned`, `refused` (by istiod) or `schema` (refused by the CRD), with its text. */
export type Verdict = readonly [outcome: 'taken' | 'warned' | 'refused' | 'schema', text?: string]

export function validationCases(): ValidationCase[] {
  const text = readFileSync(join(import.meta.dirname, 'bases.yaml'), 'utf8')
  return text.split(/^---$/m).flatMap((document) => {
    const [, kind, name] = /^# ([A-Z]\w+) (\w+)$/m.exec(document)!
    const spec: unknown = parseAllDocuments(document)[0]!.toJS()
    const object = (changed: unknown): object => objectOf(kind as IstioKind, changed)
    const whole = { id: `${kind} ${name}`, kind: kind as IstioKind, object: object(spec) }
    const changed = [...changes(spec, '')].map(([change, value]) => ({
      id: `${kind} ${name}: ${change}`,
      kind: kind as IstioKind,
      object: object(value),
    }))
    return [whole, ...changed]
  })
}

function objectOf(kind: IstioKind, spec: unknown): object {
  const version = KINDS[kind].versions[0]
  return { apiVersion: `${KINDS[kind].group}/${version}`, kind, metadata: { name: 'x', namespace: 'default' }, spec }
}

/** Every value that differs from this one in one place, with the name of the difference. */
function* changes(value: unknown, path: string): Generator<[string, unknown]> {
  for (const [name, other] of instead(value)) yield [`${path} ${name}`, other]
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const at = `${path}[${i}]`
      yield [`${at} twice`, value.toSpliced(i, 0, value[i])]
      if (value.length > 1) yield [`${at} away`, value.toSpliced(i, 1)]
      for (const [name, inner] of changes(value[i], at)) yield [name, value.with(i, inner)]
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const key of Object.keys(value)) {
      const at = path === '' ? key : `${path}.${key}`
      const { [key]: own, ...others } = value as Record<string, unknown>
      yield [`${at} away`, others]
      for (const [name, inner] of changes(own, at)) yield [name, { ...value, [key]: inner }]
    }
  }
}

const STRINGS: readonly string[] = [
  '',
  'a_b',
  'A b',
  '*',
  '*.a',
  'a/b',
  'http://a.b/c',
  '1.2.3.4',
  'é',
  'a'.repeat(300),
]
const DURATIONS: readonly string[] = ['0s', '-1s', '1500us', '1ms', '1', '', '100h']
const NUMBERS: readonly number[] = [-1, 0, 1, 1.5, 101, 65535, 65536, 2 ** 32]

/** What stands in a value's place. */
function* instead(value: unknown): Generator<[string, unknown]> {
  const plain = (one: unknown): [string, unknown] => [`= ${JSON.stringify(one).slice(0, 20)}`, one]
  if (typeof value === 'string') {
    if (/^[A-Z][A-Z0-9_]+$/.test(value)) yield* ['', 'NONE', value.toLowerCase()].map(plain)
    else if (/^\d+m?[smh]$/.test(value)) yield* DURATIONS.map(plain)
    else yield* STRINGS.filter((one) => one !== value).map(plain)
  } else if (typeof value === 'number') yield* NUMBERS.filter((one) => one !== value).map(plain)
  else if (typeof value === 'boolean') yield plain(!value)
  else if (Array.isArray(value)) yield plain([])
  else {
    yield plain({})
    if (Object.values(value as object).every((one) => typeof one === 'string')) {
      yield ['with "" key', { ...(value as object), '': 'a' }]
      yield ['with "*" key', { ...(value as object), '*': 'a' }]
    }
  }
}
