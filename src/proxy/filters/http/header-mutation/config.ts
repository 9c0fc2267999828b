// envoy.filters.http.header_mutation: configuration, of the filter and of routes (both run; see filter.ts).

import type { HeaderMutation as MutationMessage } from '../../../../api/gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js'
import {
  type HeaderMutation,
  type HeaderMutationPerRoute,
  HeaderMutationPerRouteSchema,
  HeaderMutationSchema,
  type Mutations,
} from '../../../../api/gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import type { HeaderMutationsData } from '../../../route/config.ts'
import { parseHeaderToAdd } from '../../../route/parse-common.ts'
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

function parseMutations(mutations: Mutations | undefined, context: ParseContext): MutationLists {
  const list = (messages: readonly MutationMessage[], field: string): HeaderMutationsData[] =>
    messages.map((message, i) => parseMutation(message, context.at(`${field}[${i}]`)))
  return {
    request: list(mutations?.requestMutations ?? [], 'request_mutations'),
    response: list(mutations?.responseMutations ?? [], 'response_mutations'),
  }
}

function parseMutation({ action }: MutationMessage, context: ParseContext): HeaderMutationsData {
  switch (action.case) {
    case 'remove':
      return { add: [], remove: [action.value.toLowerCase()] }
    case 'append':
      return { add: [parseHeaderToAdd(action.value, context.at('append'))], remove: [] }
    default:
      throw new ConfigError(context.path, 'one of remove, append is required')
  }
}
