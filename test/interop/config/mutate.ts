// Single edits of a valid bootstrap, made from the protobuf descriptors: every field of every message in it, set to an
// ordinary value, to an edge value, or removed.

import type { DescField, DescMessage } from '@bufbuild/protobuf'
import { ScalarType } from '@bufbuild/protobuf'
import { BootstrapSchema } from '../../../src/api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { messageType, typeNameOf } from '../../../src/api/registry.ts'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Fields = { [key: string]: Json }

export interface Edit {
  /** Where, e.g. `static_resources.clusters[0].connect_timeout`. */
  readonly path: string
  /** Message that the field belongs to. */
  readonly type: string
  readonly field: string
  /** undefined removes the field. */
  readonly value: Json | undefined
}

/** A message of the bootstrap, with the way to it. */
interface Place {
  readonly desc: DescMessage
  readonly path: string
  readonly at: Fields
}

/** Every message in `config`, Any opened. At most `each` of one type. */
function places(config: Json, each: number): Place[] {
  const out: Place[] = []
  const seen = new Map<string, number>()
  const walk = (desc: DescMessage, value: Json | undefined, path: string): void => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return
    if (desc.typeName === 'google.protobuf.Any') {
      const inner = messageType(typeNameOf(String(value['@type'])))
      if (inner) walk(inner, value, path)
      return
    }
    if (desc.typeName.startsWith('google.protobuf.')) return
    const count = seen.get(desc.typeName) ?? 0
    if (count < each) {
      seen.set(desc.typeName, count + 1)
      out.push({ desc, path, at: value })
    }
    for (const field of desc.fields) {
      const inner = value[field.name]
      const here = path ? `${path}.${field.name}` : field.name
      if (inner === undefined) continue
      if (field.fieldKind === 'message') walk(field.message, inner, here)
      else if (field.fieldKind === 'list' && field.listKind === 'message' && Array.isArray(inner))
        for (const [i, item] of inner.entries()) walk(field.message, item, `${here}[${i}]`)
      else if (field.fieldKind === 'map' && field.mapKind === 'message' && typeof inner === 'object')
        for (const [key, item] of Object.entries(inner as Fields)) walk(field.message, item, `${here}["${key}"]`)
    }
  }
  walk(BootstrapSchema, config, '')
  return out
}

function scalars(scalar: ScalarType): Json[] {
  switch (scalar) {
    case ScalarType.BOOL:
      return [true, false]
    case ScalarType.STRING:
      return ['abc', '', 'a b', 'x'.repeat(300), '%REQ(', 'é', 'a\nb']
    case ScalarType.BYTES:
      return ['AAAA', '']
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return [0, 1.5, -1, 1e9]
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return [0, 1, 7, 70_000, 4_294_967_295]
    default:
      return [0, 1, -1, 100_000]
  }
}

const DURATIONS: Json[] = ['1.5s', '0s', '0.0005s', '-1s', '315576000000s']

/** Values for one entry of `field`, the ordinary ones first. */
function values(field: DescField, depth: number): Json[] {
  switch (field.fieldKind) {
    case 'scalar':
      return scalars(field.scalar)
    case 'enum':
      return field.enum.values.map((v) => v.name)
    case 'message':
      return messages(field.message, depth)
    case 'list': {
      const items: Json[] =
        field.listKind === 'scalar'
          ? scalars(field.scalar)
          : field.listKind === 'enum'
            ? field.enum.values.map((v) => v.name)
            : messages(field.message, depth)
      return [...items.map((item): Json => [item]), ...(items.length > 0 ? [[items[0]!, items[0]!]] : [])]
    }
    case 'map': {
      const items: Json[] =
        field.mapKind === 'scalar'
          ? scalars(field.scalar)
          : field.mapKind === 'enum'
            ? field.enum.values.map((v) => v.name)
            : messages(field.message, depth)
      const key = field.mapKey === ScalarType.STRING ? 'k1' : field.mapKey === ScalarType.BOOL ? 'true' : '1'
      return items.map((item): Json => ({ [key]: item }))
    }
  }
}

/** Values of a message field: empty, and one with each of its fields set. */
function messages(desc: DescMessage, depth: number): Json[] {
  switch (desc.typeName) {
    case 'google.protobuf.Duration':
      return DURATIONS
    case 'google.protobuf.Timestamp':
      return ['2020-01-01T00:00:00Z']
    case 'google.protobuf.Any':
      return [{ '@type': 'type.googleapis.com/google.protobuf.Struct', value: {} }]
    case 'google.protobuf.Struct':
      return [{ a: 'b' }]
    case 'google.protobuf.Value':
      return ['v']
    case 'google.protobuf.ListValue':
      return [['v']]
    case 'google.protobuf.Empty':
      return [{}]
  }
  if (desc.typeName.startsWith('google.protobuf.') && desc.fields.length === 1) {
    const [field] = desc.fields
    return field!.fieldKind === 'scalar' ? scalars(field!.scalar) : [{}]
  }
  if (depth === 0) return [{}]
  const out: Json[] = [{}]
  for (const field of desc.fields) {
    const inner = values(field, depth - 1)
    for (const value of inner.slice(0, 2)) out.push({ [field.name]: value })
  }
  return out
}

/** All single edits of `config`, at most `each` places of one message type. */
export function edits(config: Json, each = 1): Edit[] {
  const out: Edit[] = []
  for (const { desc, path, at } of places(config, each)) {
    for (const field of desc.fields) {
      const here = path ? `${path}.${field.name}` : field.name
      const base = { path: here, type: desc.typeName, field: field.name }
      if (at[field.name] !== undefined) out.push({ ...base, value: undefined })
      for (const value of values(field, 1)) out.push({ ...base, value })
    }
  }
  return out
}

/** `config` with the edit. */
export function applied(config: Json, edit: Edit): Json {
  const copy = structuredClone(config)
  const steps = [...edit.path.matchAll(/\["([^"]*)"\]|\[(\d+)\]|([^.[\]]+)/g)].map((m) => m[1] ?? m[2] ?? m[3]!)
  let target = copy as Fields
  for (const step of steps.slice(0, -1)) target = target[step] as Fields
  const last = steps.at(-1)!
  if (edit.value === undefined) delete target[last]
  else {
    const desc = messageType(edit.type)
    const field = desc?.fields.find((f) => f.name === last)
    // Only one of a oneof may be set.
    if (field?.oneof) for (const other of field.oneof.fields) delete target[other.name]
    target[last] = edit.value
  }
  return copy
}
