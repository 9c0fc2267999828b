// envoy.filters.http.header_mutation: configuration, of the filter and of routes (both run; see filter.ts).

import type { HeaderMutation as MutationMessage } from '../../../../api/gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js'
import {
  KeyValueAppend_KeyValueAppendAction,
  type KeyValueMutation,
} from '../../../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type HeaderMutation,
  type HeaderMutationPerRoute,
  HeaderMutationPerRouteSchema,
  HeaderMutationSchema,
  type Mutations,
  MutationsSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { AppendAction, type HeaderMutationsData, type QueryMutationData } from '../../../route/config.ts'
import { parseHeaderMutation } from '../../../route/parse-common.ts'
import { checkQueryMutation } from '../../../route/query-mutation.ts'
import { createHeaderMutationFilter } from './filter.ts'

/** Mutations run one after the other, as they are written. */
export interface MutationLists {
  readonly request: readonly HeaderMutationsData[]
  readonly response: readonly HeaderMutationsData[]
  readonly query: readonly QueryMutationData[]
  readonly requestTrailers: readonly HeaderMutationsData[]
  readonly responseTrailers: readonly HeaderMutationsData[]
}

export interface HeaderMutationConfig {
  readonly mutations: MutationLists
  readonly mostSpecificWins: boolean
}

export const headerMutationFilter: HttpFilterExtension<HeaderMutationConfig, MutationLists> = {
  name: 'envoy.filters.http.header_mutation',
  upstream: true,
  desc: HeaderMutationSchema,
  parse: (message, context) => {
    const { mutations, mostSpecificHeaderMutationsWins } = message as HeaderMutation
    return {
      mutations: parseMutations(mutations, context.at('mutations')),
      mostSpecificWins: mostSpecificHeaderMutationsWins,
    }
  },
  routeDesc: HeaderMutationPerRouteSchema,
  parseRoute: (message, context) =>
    parseMutations((message as HeaderMutationPerRoute).mutations, context.at('mutations')),
  create: createHeaderMutationFilter,
}

const SUPPORTED: ReadonlySet<string> = new Set([
  'request_mutations', 'response_mutations', 'query_parameter_mutations', 'request_trailers_mutations',
  'response_trailers_mutations',
]) // biome-ignore format: one list

function parseMutations(mutations: Mutations | undefined, context: ParseContext): MutationLists {
  if (mutations) refuseUnsupported(MutationsSchema, mutations, SUPPORTED, context.path)
  const list = (messages: readonly MutationMessage[], field: string): HeaderMutationsData[] =>
    messages.map((message, i) => parseHeaderMutation(message, context.at(`${field}[${i}]`)))
  return {
    request: list(mutations?.requestMutations ?? [], 'request_mutations'),
    response: list(mutations?.responseMutations ?? [], 'response_mutations'),
    query: (mutations?.queryParameterMutations ?? []).map((mutation, i) =>
      parseQueryMutation(mutation, context.at(`query_parameter_mutations[${i}]`)),
    ),
    requestTrailers: list(mutations?.requestTrailersMutations ?? [], 'request_trailers_mutations'),
    responseTrailers: list(mutations?.responseTrailersMutations ?? [], 'response_trailers_mutations'),
  }
}

const APPEND = {
  [KeyValueAppend_KeyValueAppendAction.APPEND_IF_EXISTS_OR_ADD]: AppendAction.AppendIfExistsOrAdd,
  [KeyValueAppend_KeyValueAppendAction.ADD_IF_ABSENT]: AppendAction.AddIfAbsent,
  [KeyValueAppend_KeyValueAppendAction.OVERWRITE_IF_EXISTS_OR_ADD]: AppendAction.OverwriteIfExistsOrAdd,
  [KeyValueAppend_KeyValueAppendAction.OVERWRITE_IF_EXISTS]: AppendAction.OverwriteIfExists,
} as const

function parseQueryMutation({ append, remove }: KeyValueMutation, at: ParseContext): QueryMutationData {
  if (!append) {
    if (remove === '') throw new ConfigError(at.path, 'one of append, remove is required')
    return { name: remove, value: '', action: 'remove' }
  }
  if (remove !== '') throw new ConfigError(at.path, 'append and remove exclude each other')
  const key = append.record?.key || append.entry?.key || ''
  if (key === '') throw new ConfigError(at.at('append.record.key').path, 'is required')
  const given = append.record?.value?.kind
  const value =
    given?.case === 'stringValue' ? given.value : Buffer.from(append.entry?.value ?? new Uint8Array()).toString('utf8')
  if (given !== undefined && given.case !== 'stringValue')
    throw new ConfigError(at.at('append.record.value').path, 'must be a string')
  const mutation = { name: key, value, action: APPEND[append.action] }
  checkQueryMutation(mutation, at.at('append.record.value').path)
  return mutation
}
