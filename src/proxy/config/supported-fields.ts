// Every field is honoured or refused: a parser names the fields it reads, anything else that is set is an error.

import type { DescMessage, Message } from '@bufbuild/protobuf'
import { isFieldSet } from '@bufbuild/protobuf'
import { ConfigError } from '../../base/errors.ts'

/**
 * Throws ConfigError for the first set field of `message` that is not in `supported` (proto names), e.g.
 * `listener.tcp_fast_open_queue_length: not supported by this proxy`.
 */
export function refuseUnsupported(
  desc: DescMessage,
  message: Message,
  supported: ReadonlySet<string>,
  path: string,
): void {
  for (const field of desc.fields) {
    if (supported.has(field.name) || !isFieldSet(message, field)) continue
    throw new ConfigError(path ? `${path}.${field.name}` : field.name, 'not supported by this proxy; remove the field')
  }
}
