// The small vocabulary of generated configurations and requests, so that most of what is configured is also met; and how
// arbitrary messages are put together.

import fc from 'fast-check'

export const PATHS = ['/a', '/a/b', '/A', '/b/', '/b/c/d', '/re/12', '/re/x', '/t/one/two', '/x.y', '/'] as const
export const HOSTS = [
  'one.example',
  'One.Example',
  'sub.two.example',
  'three.example:81',
  'other',
  '127.0.0.1',
] as const
export const HEADER_NAMES = ['x-a', 'x-b', 'x-n'] as const
export const HEADER_VALUES = ['', 'one', 'One', 'two three', '5', '-3', '12', 'one,two'] as const
export const QUERY_NAMES = ['q', 'w'] as const
export const QUERY_VALUES = ['', '1', 'one', 'a%20b'] as const

export type Json = Record<string, unknown>
export const json = (value: fc.Arbitrary<object>): fc.Arbitrary<Json> => value as fc.Arbitrary<Json>
/** Some of these fields. */
export const some = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Json> =>
  fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<Json>
export const merged = (...parts: fc.Arbitrary<object>[]): fc.Arbitrary<Json> =>
  fc.tuple(...parts).map((all) => Object.assign({}, ...all) as Json)
