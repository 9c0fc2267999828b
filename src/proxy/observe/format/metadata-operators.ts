// Commands that read metadata and filter state.

import { ConfigError } from '../../../base/errors.ts'
import type { FilterState } from '../../network/filter.ts'
import type { LogContext } from '../access-log.ts'
import { type Operator, ValueOperator } from './operator.ts'

type Source = (context: LogContext) => Readonly<Record<string, unknown>> | null | undefined

const SOURCES: Record<string, Source> = {
  DYNAMIC: (context) => context.info.dynamicMetadata,
  CLUSTER: (context) => context.info.upstreamClusterMetadata,
  ROUTE: (context) => context.info.route?.metadata,
  UPSTREAM_HOST: (context) => context.info.upstreamHost?.metadata,
  LISTENER: (context) => context.info.downstream.listenerMetadata,
}

function lookup(source: Source, keys: readonly string[], maxLength: number | null): Operator {
  return new ValueOperator((context) => {
    let value: unknown = source(context)
    for (const key of keys) {
      if (typeof value !== 'object' || value === null) return undefined
      value = (value as Record<string, unknown>)[key]
    }
    return value
  }, maxLength)
}

/** `%METADATA(TYPE:NAMESPACE:KEY…)%`. */
export function metadata(args: string, maxLength: number | null, path: string): Operator {
  const [type, ...keys] = args.split(':')
  const source = SOURCES[type ?? '']
  if (!source) throw new ConfigError(path, `${type} is not supported type of metadata`)
  return lookup(source, keys, maxLength)
}

/** `%DYNAMIC_METADATA(NS:KEY…)%`, `%CLUSTER_METADATA(…)%`, `%UPSTREAM_METADATA(…)%` (also in the old `["ns", "key"]` form, which Envoy accepts and finds nothing by). */
export function metadataOf(
  type: 'DYNAMIC' | 'CLUSTER' | 'UPSTREAM_HOST',
  args: string,
  maxLength: number | null,
): Operator {
  return lookup(SOURCES[type]!, args.split(':'), maxLength)
}

/** What filters keep in filter state may say how it is printed. */
interface Printable {
  /** PLAIN text. */
  serializeAsString?(): string | null
  /** TYPED: JSON. */
  serializeAsJson?(): unknown
  /** FIELD:name. */
  getField?(name: string): unknown
}

/** `%FILTER_STATE(KEY:PLAIN|TYPED|FIELD:NAME)%`. */
export function filterState(args: string, maxLength: number | null, path: string): Operator {
  return stateOperator((context) => context.info.filterState, args, maxLength, path)
}

/** `%UPSTREAM_FILTER_STATE(…)%`: what network filters of the upstream connection keep. */
export function upstreamFilterState(args: string, maxLength: number | null, path: string): Operator {
  return stateOperator((context) => context.info.upstreamFilterState, args, maxLength, path)
}

function stateOperator(
  get: (context: LogContext) => FilterState | null,
  args: string,
  maxLength: number | null,
  path: string,
): Operator {
  const [key, style = 'TYPED', field, ...rest] = args.split(':')
  if (!key) throw new ConfigError(path, 'Invalid filter state configuration, key cannot be empty.')
  const object = (context: LogContext) => get(context)?.get(key)
  switch (style) {
    case 'PLAIN':
      if (field !== undefined) break
      return new ValueOperator((context) => plain(object(context)), maxLength)
    case 'TYPED':
      if (field !== undefined) break
      return new ValueOperator((context) => typed(object(context)), maxLength)
    case 'FIELD':
      if (!field || rest.length > 0) break
      return new ValueOperator((context) => fieldOf(object(context), field), maxLength)
    default:
      throw new ConfigError(path, `Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.`)
  }
  throw new ConfigError(path, 'Invalid filter state configuration: FIELD needs a name, PLAIN and TYPED take none')
}

function isPrintable(value: unknown): value is Printable {
  return typeof value === 'object' && value !== null
}

function plain(value: unknown): unknown {
  if (!isPrintable(value)) return value
  return value.serializeAsString ? value.serializeAsString() : JSON.stringify(value)
}

function typed(value: unknown): unknown {
  // A string object is a StringValue: its JSON is quoted, in text too.
  if (typeof value === 'string') return JSON.stringify(value)
  return isPrintable(value) && value.serializeAsJson ? value.serializeAsJson() : value
}

function fieldOf(value: unknown, name: string): unknown {
  if (!isPrintable(value)) return undefined
  return value.getField ? value.getField(name) : (value as Record<string, unknown>)[name]
}
