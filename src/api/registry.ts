// The protobuf types we know, loaded on first use: all descriptors together cost half a second and 50 MB, a sidecar
// needs a tenth of them. Canonical JSON and Any resolve through `typeRegistry`; a type that is not in it is refused.

import type { DescMessage, Registry } from '@bufbuild/protobuf'
import { createRegistry } from '@bufbuild/protobuf'
import * as wkt from '@bufbuild/protobuf/wkt'
import { loadModule, readModuleIndex } from './generated.ts'

let index: Record<string, string> | undefined

/** Full message name → module under gen/. */
function moduleIndex(): Record<string, string> {
  index ??= readModuleIndex()
  return index
}

const wellKnown = createRegistry(
  wkt.AnySchema,
  wkt.BoolValueSchema,
  wkt.BytesValueSchema,
  wkt.DoubleValueSchema,
  wkt.DurationSchema,
  wkt.EmptySchema,
  wkt.FieldMaskSchema,
  wkt.FloatValueSchema,
  wkt.Int32ValueSchema,
  wkt.Int64ValueSchema,
  wkt.ListValueSchema,
  wkt.StringValueSchema,
  wkt.StructSchema,
  wkt.TimestampSchema,
  wkt.UInt32ValueSchema,
  wkt.UInt64ValueSchema,
  wkt.ValueSchema,
)
const loaded = new Map<string, DescMessage | undefined>()

/** The descriptor of a top-level message by its full name, or undefined when we do not know it. */
export function messageType(fullName: string): DescMessage | undefined {
  if (loaded.has(fullName)) return loaded.get(fullName)
  let desc = wellKnown.getMessage(fullName)
  const module = desc ? undefined : moduleIndex()[fullName]
  if (module) {
    desc = loadModule(module)[`${fullName.slice(fullName.lastIndexOf('.') + 1)}Schema`] as DescMessage | undefined
  }
  loaded.set(fullName, desc)
  return desc
}

/** `type.googleapis.com/a.b.C` → `a.b.C`. */
export function typeNameOf(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('/') + 1)
}

/** For fromJson and toJson. */
export const typeRegistry: Registry = {
  kind: 'registry',
  get: (name) => messageType(name),
  getMessage: messageType,
  getEnum: () => undefined,
  getExtension: () => undefined,
  getExtensionFor: () => undefined,
  getService: () => undefined,
  [Symbol.iterator]: () => wellKnown[Symbol.iterator](),
}
