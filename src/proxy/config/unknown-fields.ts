// Fields of a binary message that our descriptors do not know: a newer control plane, or a mistake.

import { type DescField, type DescMessage, isMessage, type Message } from '@bufbuild/protobuf'

/** Path and number of the first unknown field, e.g. `filter_chains[0].field 99`, or null. Packed Any are not opened. */
export function findUnknownField(desc: DescMessage, message: Message, path = ''): string | null {
  const unknown = message.$unknown?.[0]
  if (unknown !== undefined) return `${path}field ${unknown.no}`
  for (const field of desc.fields) {
    if (field.fieldKind === 'message') {
      const value = field.oneof ? chosen(message, field) : values(message)[field.localName]
      // Wrappers and Struct are kept as plain values, which have no unknown fields.
      if (!isMessage(value)) continue
      const found = findUnknownField(field.message, value, `${path}${field.name}.`)
      if (found !== null) return found
    } else if (field.fieldKind === 'list' && field.listKind === 'message') {
      for (const [i, item] of (values(message)[field.localName] as Message[]).entries()) {
        const found = findUnknownField(field.message, item, `${path}${field.name}[${i}].`)
        if (found !== null) return found
      }
    }
  }
  return null
}

function values(message: Message): Readonly<Record<string, unknown>> {
  return message as unknown as Readonly<Record<string, unknown>>
}

/** The value of a member of a oneof, if it is the one that was chosen. */
function chosen(message: Message, { oneof, localName }: DescField): unknown {
  const { case: name, value } = values(message)[oneof!.localName] as { case: string | undefined; value?: unknown }
  return name === localName ? value : undefined
}
