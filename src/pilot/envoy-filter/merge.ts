// Protobuf merge by reflection: set scalars replace, messages merge, lists append (or are replaced).
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

/** What a patch would merge is of another type than what is there. */
export class MergeMismatch extends Error {}

/**
 * Merges what `source` sets into `target`, in place, as istiod does: entries of maps and durations replace, and so does an
 * Any. A wrapper that holds its type's zero value sets nothing. `source` is not changed and shares nothing with `target`
 * afterwards.
 */
export function mergeMessage<D extends DescMessage>(desc: D, target: Message, source: Message, lists: ListMerge): void {
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
      for (const [key, value] of from.get(field)) map.set(key, copyValue(value) as never)
      return
    }
    case 'message': {
      const value = from.get(field)
      if (!into.isSet(field) || field.message.typeName === 'google.protobuf.Duration') {
        into.set(field, copyValue(value) as never)
      } else {
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

/** The message behind a reflected value. */
function messageOf(value: unknown): Message {
  return (value as { message: Message }).message
}

function copyValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('message' in value) || !('desc' in value)) return value
  const { desc, message } = value as { desc: DescMessage; message: Message }
  return reflect(desc, clone(desc, message as never))
}

/**
 * Merges the message in an Any into that in another, field by field; of a type that is not known the target stays.
 * Throws {@link MergeMismatch} when the types differ.
 */
export function mergeAny(target: Any, source: Any): void {
  const desc = messageType(typeNameOf(target.typeUrl))
  const other = messageType(typeNameOf(source.typeUrl))
  if (!desc || !other) return
  if (desc.typeName !== other.typeName) {
    throw new MergeMismatch(`${other.typeName} cannot be merged into ${desc.typeName}`)
  }
  const merged = fromBinary(desc, target.value)
  mergeMessage(desc, merged, fromBinary(desc, source.value), 'append')
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
