// Filter state that configuration sets: the object factories of Envoy that something here reads, and values by format.

import {
  type FilterStateValue,
  FilterStateValue_SharedWithUpstream as SharedWithUpstream,
} from '../../../api/gen/envoy/extensions/filters/common/set_filter_state/v3/value_pb.js'
import { ConfigError } from '../../../base/errors.ts'
import type { ParseContext } from '../../config/extension.ts'
import type { FilterState } from '../../network/filter.ts'
import type { LogContext } from '../../observe/access-log.ts'
import { compileLogFormat, type LineFormat, type LogFormatData, parseLogFormat } from '../access-loggers/log-format.ts'

/** Makes the object of a text; undefined: the text is none of its kind. */
type ObjectFactory = (text: string) => unknown

const text: ObjectFactory = (value) => value
const list: ObjectFactory = (value) => value.split(',')
const number: ObjectFactory = (value) => (/^\d+$/.test(value) ? Number(value) : undefined)

/** By Envoy's names; the readers of each know its form. */
const FACTORIES: Readonly<Record<string, ObjectFactory>> = {
  'envoy.string': text,
  'envoy.hashable_string': text,
  'envoy.network.upstream_server_name': text,
  'envoy.network.application_protocols': list,
  'envoy.network.transport_socket.original_dst_address': text,
  'envoy.tcp_proxy.cluster': text,
  'envoy.tcp_proxy.disable_tunneling': (value) => value === 'true',
  'envoy.upstream.dynamic_host': text,
  'envoy.upstream.dynamic_port': number,
  'envoy.ratelimit.hits_addend': number,
}

export interface FilterStateData {
  readonly key: string
  readonly factory: string
  readonly format: LogFormatData
  readonly readOnly: boolean
  readonly skipIfEmpty: boolean
}

/** Throws ConfigError for factories that nothing here reads. */
export function parseFilterStateValue(value: FilterStateValue, at: ParseContext): FilterStateData {
  const key = value.key.case === 'objectKey' ? value.key.value : ''
  const factory = value.factoryKey || key
  if (!Object.hasOwn(FACTORIES, factory)) {
    throw new ConfigError(
      at.at(value.factoryKey ? 'factory_key' : 'object_key').path,
      `'${factory}' does not have an object factory; this proxy has: ${Object.keys(FACTORIES).join(', ')}`,
    )
  }
  if (value.sharedWithUpstream !== SharedWithUpstream.NONE) {
    throw new ConfigError(
      at.at('shared_with_upstream').path,
      'not supported by this proxy: no upstream filter reads it; remove the field',
    )
  }
  const format = value.value.case === 'formatString' ? value.value.value : undefined
  return {
    key,
    factory,
    format: parseLogFormat(format, at.at('format_string').path),
    readOnly: value.readOnly,
    skipIfEmpty: value.skipIfEmpty,
  }
}

/** Compiled values, set in their order. */
export class FilterStateValues {
  private readonly values: readonly { readonly data: FilterStateData; readonly format: LineFormat }[]

  constructor(list: readonly FilterStateData[]) {
    this.values = list.map((data) => ({ data, format: compileLogFormat(data.format) }))
  }

  apply(context: LogContext, state: FilterState): void {
    for (const { data, format } of this.values) {
      const value = format.format(context)
      if (value === '' && data.skipIfEmpty) continue
      const object = FACTORIES[data.factory]!(value)
      if (object !== undefined) state.set(data.key, object, data.readOnly)
    }
  }
}
