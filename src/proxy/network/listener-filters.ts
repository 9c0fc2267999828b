// Listener filters as extensions: how a worker makes them.

import type { DescMessage, Message } from '@bufbuild/protobuf'
import type { ParseContext, ParsedExtension } from '../config/extension.ts'
import type { ListenerEnvironment } from './filter-chain.ts'
import type { ListenerFilter } from './listener-filter.ts'

/** Makes the filter of one connection. */
export type ListenerFilterFactory = () => ListenerFilter

export interface ListenerFilterExtension<C = unknown> {
  readonly name: string
  readonly desc: DescMessage
  parse(message: Message, context: ParseContext): C
  create(config: C, environment: ListenerEnvironment): ListenerFilterFactory
}

/** For configuration that parse accepted, so the extension exists. */
export function createListenerFilterFactory(
  parsed: ParsedExtension,
  environment: ListenerEnvironment,
): ListenerFilterFactory {
  const extension = environment.registry.get('listener_filter', parsed.typeUrl) as unknown as ListenerFilterExtension
  return extension.create(parsed.config, environment)
}
