// Fields of a binary message that our descriptors do not know: a newer control plane, or a mistake.

import { type DescMessage, isFieldSet, type Message } from '@bufbuild/protobuf'
import { reflect } from '@bufbuild/protobuf/reflect'

/** Path and number of the first unknown field, e.g. `filter_chains[0].field 99`, or null. Packed Any are not opened. */
export function findUnknownField(desc: DescMessage, message: Message, path = ''): string | null {
  const unknown = message.$unknown?.[0]
  if (unknown !== undefined) return `${path}field ${unknown.no}`
  const view = reflect(desc, message)
  for (const field of desc.fields) {
    if (!isFieldSet(message, field)) continue
    if (field.fieldKind === 'message') {
      const found = findUnknownField(field.message, view.get(field).message, `${path}${field.name}.`)
      if (found !== null) return found
    } else if (field.fieldKind === 'list' && field.listKind === 'message') {
      const list = view.get(field)
      for (let i = 0; i < list.size; i++) {
        const item = list.get(i) as { message: Message }
        const found = findUnknownField(field.message, item.message, `${path}${field.name}[${i}].`)
        if (found !== null) return found
      }
    }
  }
  return null
}
