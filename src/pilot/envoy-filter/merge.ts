// Protobuf merge by reflection: set scalars replace, messages merge, lists append (or are replaced), maps merge by key.
import {
  clone,
  type create,
  type DescField,
  type DescMessage,
  fromBinary,
  type Message,
  toBinary,
} from '@bufbuild/protobuf'
import { reflect } from '@bufbuild/protobuf/reflect'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import { messageType, typeNameOf } from '../../api/registry.ts'

export type ListMerge = 'append' | 'replace'

/**
 * Merges what `source` sets into `target`, in place. An Any merges into an Any of the same type field by field and
 * replaces one of another type. `source` is not changed and shares nothing with `target` afterwards.
 */
export function mergeMessage<D extends DescMessage>(desc: D, target: Message, source: Message, lists: ListMerge): void {
  if (desc.typeName === 'google.protobuf.Any') {
    mergeAny(target as Any, source as Any, lists)
    return
  }
  const into = reflect(desc, target as never)
  const from = reflect(desc, source as never)
  for (const field of desc.fields) {
    if (!from.isSet(field)) continue
    mergeField(field, into, from, lists)
  }
}

type Reflected = ReturnType<typeof reflect>

function mergeField(field: DescField, into: Reflected, from: Reflected, lists: ListMerge): void {
  switch (field.fieldKind) {
    case 'list': {
      const list = into.get(field)
      if (lists === 'replace') list.clear()
      for (const item of from.get(field)) list.add(copyValue(item) as never)
      return
    }
    case 'map': {
      const map = into.get(field)
      for (const [key, value] of from.get(field)) {
        const known = map.get(key)
        if (field.mapKind === 'message' && known !== undefined) {
          mergeMessage(field.message, messageOf(known), messageOf(value), lists)
          map.set(key, known as never)
        } else map.set(key, copyValue(value) as never)
      }
      return
    }
    case 'message': {
      const value = from.get(field)
      // Structs, durations and wrappers are values: they replace.
      if (!into.isSet(field) || isValueType(field.message)) into.set(field, copyValue(value) as never)
      else {
        const known = into.get(field)
        mergeMessage(field.message, messageOf(known), messageOf(value), lists)
        into.set(field, known)
      }
      return
    }
    default:
      into.set(field, from.get(field))
  }
}

function isValueType(desc: DescMessage): boolean {
  return desc.typeName.startsWith('google.protobuf.') && desc.typeName !== 'google.protobuf.Any'
}

/** The message behind a reflected value. */
function messageOf(value: unknown): Message {
  return (value as { message: Message }).message
}

function copyValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('message' in value) || !('desc' in value)) return value
  const { desc, message } = value as { desc: DescMessage; message: Message }
  return reflect(desc, clone(desc, message as never))
}

function mergeAny(target: Any, source: Any, lists: ListMerge): void {
  const desc = source.typeUrl === target.typeUrl ? messageType(typeNameOf(source.typeUrl)) : undefined
  if (!desc) {
    target.typeUrl = source.typeUrl
    target.value = source.value.slice()
    return
  }
  const merged = fromBinary(desc, target.value)
  mergeMessage(desc, merged, fromBinary(desc, source.value), lists)
  target.value = toBinary(desc, merged)
}

/** Unpacks an Any of a known type, lets `change` edit it, and packs it again. */
export function editAny<D extends DescMessage>(
  any: Any,
  desc: D,
  change: (message: ReturnType<typeof create<D>>) => void,
): void {
  const message = fromBinary(desc, any.value)
  change(message as ReturnType<typeof create<D>>)
  any.value = anyPack(desc, message as never).value
}
