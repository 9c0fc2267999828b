import type { JsonValue } from '@bufbuild/protobuf'

/** Every place where `actual` is not `expected`, as `path: got …, want …`; at most `limit` of them. */
export function compareJson(actual: JsonValue | undefined, expected: JsonValue | undefined, limit = 20): string[] {
  const differences: string[] = []
  walk(actual, expected, '', differences, limit)
  return differences
}

function walk(
  actual: JsonValue | undefined,
  expected: JsonValue | undefined,
  path: string,
  out: string[],
  limit: number,
): void {
  if (out.length >= limit || actual === expected) return
  if (Array.isArray(actual) && Array.isArray(expected)) {
    if (actual.length !== expected.length) {
      out.push(
        `${path || '.'}: got ${actual.length} entries ${names(actual)}, want ${expected.length} ${names(expected)}`,
      )
    }
    const length = Math.min(actual.length, expected.length)
    for (let i = 0; i < length; i++) walk(actual[i], expected[i], `${path}[${label(expected[i], i)}]`, out, limit)
    return
  }
  if (isObject(actual) && isObject(expected)) {
    for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      walk(actual[key], expected[key], path ? `${path}.${key}` : key, out, limit)
    }
    return
  }
  out.push(`${path || '.'}: got ${show(actual)}, want ${show(expected)}`)
}

function isObject(value: JsonValue | undefined): value is { [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function label(value: JsonValue | undefined, index: number): string {
  return isObject(value) && typeof value.name === 'string' ? `${index}:${value.name}` : String(index)
}

function names(values: readonly JsonValue[]): string {
  const list = values.map((value) => (isObject(value) && typeof value.name === 'string' ? value.name : show(value)))
  const text = list.join(', ')
  return `(${text.length > 300 ? `${text.slice(0, 300)}…` : text})`
}

function show(value: JsonValue | undefined): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value)
  return text.length > 160 ? `${text.slice(0, 160)}…` : text
}
