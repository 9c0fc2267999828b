// xds.type.matcher.v3.Matcher → plain data. What the actions are is the business of who asks: a chain's name, routes, an
// RBAC action.

import type { Any } from '@bufbuild/protobuf/wkt'
import type { TypedExtensionConfig } from '../../api/gen/xds/core/v3/extension_pb.js'
import { CelMatcherSchema } from '../../api/gen/xds/type/matcher/v3/cel_pb.js'
import { type ServerNameMatcher, ServerNameMatcherSchema } from '../../api/gen/xds/type/matcher/v3/domain_pb.js'
import { type IPMatcher, IPMatcherSchema } from '../../api/gen/xds/type/matcher/v3/ip_pb.js'
import type {
  Matcher,
  Matcher_MatcherList_Predicate,
  Matcher_MatcherTree,
  Matcher_OnMatch,
} from '../../api/gen/xds/type/matcher/v3/matcher_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { type Cidr, parseCidr } from '../../base/cidr.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { type CelTreeData, parseCelTree } from '../observe/cel-tree.ts'
import { parseStringMatcher, type StringMatcherData } from '../route/string-matcher.ts'
import { type InputMatcherData, parseInputMatcher } from './input-matchers.ts'
import { type InputData, type InputKind, parseInput } from './inputs.ts'

export type PredicateData =
  | { readonly kind: 'value'; readonly input: InputData; readonly matcher: StringMatcherData }
  | { readonly kind: 'extension'; readonly input: InputData; readonly matcher: InputMatcherData }
  | { readonly kind: 'cel'; readonly tree: CelTreeData }
  | { readonly kind: 'and' | 'or'; readonly of: readonly PredicateData[] }
  | { readonly kind: 'not'; readonly of: PredicateData }

export type OnMatchData<A> =
  | { readonly kind: 'action'; readonly action: A }
  | { readonly kind: 'matcher'; readonly matcher: MatcherData<A> }

export type TreeData<A> =
  | {
      readonly kind: 'list'
      readonly entries: readonly { readonly predicate: PredicateData; readonly onMatch: OnMatchData<A> }[]
    }
  /** `domain`: keys are host names, `*.suffix`, or `*`. */
  | {
      readonly kind: 'exact' | 'prefix' | 'domain'
      readonly input: InputData
      readonly entries: readonly { readonly key: string; readonly onMatch: OnMatchData<A> }[]
    }
  | {
      readonly kind: 'ip'
      readonly input: InputData
      /** Longest first, otherwise in the order of the configuration. */
      readonly entries: readonly {
        readonly range: Cidr
        readonly exclusive: boolean
        readonly onMatch: OnMatchData<A>
      }[]
    }

/** `tree` null: only `onNoMatch` decides. */
export interface MatcherData<A> {
  readonly tree: TreeData<A> | null
  readonly onNoMatch: OnMatchData<A> | null
}

/** What one use of matchers has: the inputs that there is something to read from, and the reader of its actions. */
export interface MatcherUse<A> {
  readonly inputs: ReadonlySet<InputKind>
  action(action: TypedExtensionConfig, context: ParseContext): A
}

/** Throws ConfigError for what Envoy refuses and for extensions that this proxy lacks. validate.rules are checked before. */
export function parseMatcher<A>(matcher: Matcher, use: MatcherUse<A>, context: ParseContext): MatcherData<A> {
  return {
    tree: parseTree(matcher, use, context),
    onNoMatch: matcher.onNoMatch ? parseOnMatch(matcher.onNoMatch, use, context.at('on_no_match')) : null,
  }
}

function parseTree<A>({ matcherType }: Matcher, use: MatcherUse<A>, context: ParseContext): TreeData<A> | null {
  switch (matcherType.case) {
    case 'matcherList': {
      const entries = matcherType.value.matchers.map(({ predicate, onMatch }, i) => {
        const at = context.at(`matcher_list.matchers[${i}]`)
        return {
          predicate: parsePredicate(predicate, use, at.at('predicate')),
          onMatch: parseOnMatch(onMatch, use, at.at('on_match')),
        }
      })
      return { kind: 'list', entries }
    }
    case 'matcherTree':
      return parseMap(matcherType.value, use, context.at('matcher_tree'))
    default:
      return null
  }
}

function parseOnMatch<A>(
  onMatch: Matcher_OnMatch | undefined,
  use: MatcherUse<A>,
  context: ParseContext,
): OnMatchData<A> {
  switch (onMatch?.onMatch.case) {
    case 'matcher':
      return { kind: 'matcher', matcher: parseMatcher(onMatch.onMatch.value, use, context.at('matcher')) }
    case 'action':
      return { kind: 'action', action: use.action(onMatch.onMatch.value, context.at('action')) }
    default:
      throw new ConfigError(context.path, 'needs an action or a matcher')
  }
}

function parsePredicate(
  predicate: Matcher_MatcherList_Predicate | undefined,
  use: MatcherUse<unknown>,
  context: ParseContext,
): PredicateData {
  const type = predicate?.matchType
  const all = (list: readonly Matcher_MatcherList_Predicate[], field: string): PredicateData[] =>
    list.map((one, i) => parsePredicate(one, use, context.at(`${field}.predicate[${i}]`)))
  switch (type?.case) {
    case 'singlePredicate': {
      const at = context.at('single_predicate')
      const { matcher } = type.value
      const input = parseInput(type.value.input, use.inputs, at.at('input'))
      const any = matcher.case === 'customMatch' ? matcher.value.typedConfig : undefined
      const cel = any !== undefined && typeNameOf(any.typeUrl) === CelMatcherSchema.typeName
      if (cel !== (input.kind === 'cel'))
        throw new ConfigError(at.path, 'a CelMatcher goes with the input HttpAttributesCelMatchInput, and only with it')
      if (any !== undefined && cel)
        return { kind: 'cel', tree: parseCelMatcher(any, at.at('custom_match.typed_config')) }
      if (matcher.case === 'customMatch')
        return { kind: 'extension', input, matcher: parseInputMatcher(matcher.value, at.at('custom_match')) }
      if (matcher.case !== 'valueMatch') throw new ConfigError(at.path, 'needs value_match or custom_match')
      return { kind: 'value', input, matcher: parseStringMatcher(matcher.value, at.at('value_match').path) }
    }
    case 'orMatcher':
      return { kind: 'or', of: all(type.value.predicate, 'or_matcher') }
    case 'andMatcher':
      return { kind: 'and', of: all(type.value.predicate, 'and_matcher') }
    case 'notMatcher':
      return { kind: 'not', of: parsePredicate(type.value, use, context.at('not_matcher')) }
    default:
      throw new ConfigError(context.path, 'needs one of single_predicate, or_matcher, and_matcher, not_matcher')
  }
}

function parseCelMatcher(any: Any, context: ParseContext): CelTreeData {
  const { exprMatch } = context.unpack(any, CelMatcherSchema)
  const given = exprMatch?.celExprParsed ?? exprMatch?.celExprChecked ?? exprMatch?.exprSpecifier.value
  return parseCelTree(given?.expr, context.at('expr_match').path)
}

function parseMap<A>(tree: Matcher_MatcherTree, use: MatcherUse<A>, context: ParseContext): TreeData<A> {
  const input = parseInput(tree.input, use.inputs, context.at('input'))
  if (input.kind === 'cel') throw new ConfigError(context.at('input').path, 'expressions cannot be looked up in a tree')
  const { treeType } = tree
  switch (treeType.case) {
    case 'exactMatchMap':
    case 'prefixMatchMap': {
      const kind = treeType.case === 'exactMatchMap' ? 'exact' : 'prefix'
      const at = context.at(`${kind}_match_map`)
      const entries = Object.entries(treeType.value.map).map(([key, onMatch]) => ({
        key,
        onMatch: parseOnMatch(onMatch, use, at.at(`map["${key}"]`)),
      }))
      return { kind, input, entries }
    }
    case 'customMatch':
      return parseCustom(treeType.value, input, use, context.at('custom_match'))
    default:
      throw new ConfigError(context.path, 'needs one of exact_match_map, prefix_match_map, custom_match')
  }
}

function parseCustom<A>(
  custom: TypedExtensionConfig,
  input: InputData,
  use: MatcherUse<A>,
  context: ParseContext,
): TreeData<A> {
  const { name, typedConfig } = custom
  if (!typedConfig) throw new ConfigError(context.path, `extension "${name}" has no typed_config`)
  const typeName = typeNameOf(typedConfig.typeUrl)
  switch (typeName) {
    case IPMatcherSchema.typeName:
      return parseIpMatcher(context.unpack(typedConfig, IPMatcherSchema), input, use, context)
    case ServerNameMatcherSchema.typeName:
      return parseDomainMatcher(context.unpack(typedConfig, ServerNameMatcherSchema), input, use, context)
    default:
      throw new ConfigError(
        context.path,
        `no custom matcher extension "${name}" of type ${typeName} in this proxy; it has IPMatcher and ServerNameMatcher of xds.type.matcher.v3`,
      )
  }
}

function parseIpMatcher<A>(
  message: IPMatcher,
  input: InputData,
  use: MatcherUse<A>,
  context: ParseContext,
): TreeData<A> {
  const entries = message.rangeMatchers.flatMap(({ ranges, onMatch, exclusive }, i) => {
    const at = context.at(`range_matchers[${i}]`)
    const parsed = parseOnMatch(onMatch, use, at.at('on_match'))
    return ranges.map(({ addressPrefix, prefixLen }, j) => {
      const range = parseCidr(addressPrefix, prefixLen ?? 0)
      if (range === null)
        throw new ConfigError(at.at(`ranges[${j}]`).path, `malformed IP range ${addressPrefix}/${prefixLen ?? 0}`)
      return { range, exclusive, onMatch: parsed }
    })
  })
  return { kind: 'ip', input, entries: entries.sort((a, b) => b.range.length - a.range.length) }
}

function parseDomainMatcher<A>(
  message: ServerNameMatcher,
  input: InputData,
  use: MatcherUse<A>,
  context: ParseContext,
): TreeData<A> {
  const seen = new Set<string>()
  const entries = message.domainMatchers.flatMap(({ domains, onMatch }, i) => {
    const at = context.at(`domain_matchers[${i}]`)
    const parsed = parseOnMatch(onMatch, use, at.at('on_match'))
    return domains.map((key, j) => {
      const path = at.at(`domains[${j}]`).path
      if (seen.has(key)) throw new ConfigError(path, `Duplicate domain in ServerNameMatcher: ${key}`)
      if (key !== '*' && key.includes('*', key.startsWith('*.') ? 1 : 0))
        throw new ConfigError(path, `"${key}": a wildcard has the form *.example.com, or is * alone`)
      seen.add(key)
      return { key, onMatch: parsed }
    })
  })
  return { kind: 'domain', input, entries }
}
