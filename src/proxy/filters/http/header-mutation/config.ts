// envoy.filters.http.header_mutation: configuration, of the filter and of routes (both run; see filter.ts).

import type { HeaderMutation as MutationMessage } from '../../../../api/gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js'
import {
  type HeaderMutation,
  type HeaderMutationPerRoute,
  HeaderMutationPerRouteSchema,
  HeaderMutationSchema,
  type Mutations,
  MutationsSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import type { HeaderMutationsData } from '../../../route/config.ts'
import { parseHeaderMutation } from '../../../route/parse-common.ts'
import { createHeaderMutationFilter } from './filter.ts'

/** Mutations run one after the other, as they are written. */
export interface MutationLists {
  readonly request: readonly HeaderMutationsData[]
  readonly response: readonly HeaderMutationsData[]
}

export interface HeaderMutationConfig {
  readonly mutations: MutationLists
  readonly mostSpecificWins: boolean
}

export const headerMutationFilter: HttpFilterExtension<HeaderMutationConfig, MutationLists> = {
  name: 'envoy.filters.http.header_mutation',
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

const SUPPORTED: ReadonlySet<string> = new Set(['request_mutations', 'response_mutations'])

function parseMutations(mutations: Mutations | undefined, context: ParseContext): MutationLists {
  if (mutations) refuseUnsupported(MutationsSchema, mutations, SUPPORTED, context.path)
  const list = (messages: readonly MutationMessage[], field: string): HeaderMutationsData[] =>
    messages.map((message, i) => parseHeaderMutation(message, context.at(`${field}[${i}]`)))
  return {
    request: list(mutations?.requestMutations ?? [], 'request_mutations'),
    response: list(mutations?.responseMutations ?? [], 'response_mutations'),
  }
}
