// RouteMatch → plain data.

import {
  type QueryParameterMatcher,
  type RouteMatch,
  RouteMatchSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { UriTemplateMatchConfigSchema } from '../../api/gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import type { PathMatchData, QueryParameterMatcherData, RouteMatchData } from './config.ts'
import { parseHeaderMatchers } from './header-matcher.ts'
import { parseMetadataMatcher } from './metadata-matcher.ts'
import { parseFraction } from './parse-common.ts'
import { checkRegex } from './regex.ts'
import { parseStringMatcher } from './string-matcher.ts'
import { templateRegex } from './uri-template.ts'

const SUPPORTED: ReadonlySet<string> = new Set([
  'prefix', 'path', 'safe_regex', 'connect_matcher', 'path_separated_prefix', 'path_match_policy', 'case_sensitive',
  'runtime_fraction', 'headers', 'query_parameters', 'cookies', 'grpc', 'tls_context', 'dynamic_metadata', 'filter_state',
]) // biome-ignore format: one list

/** Throws ConfigError for a bad regex, template or missing path specifier. */
export function parseRouteMatch(match: RouteMatch, context: ParseContext): RouteMatchData {
  refuseUnsupported(RouteMatchSchema, match, SUPPORTED, context.path)
  return {
    path: parsePath(match, context),
    caseSensitive: match.caseSensitive ?? true,
    fraction: parseFraction(match.runtimeFraction),
    headers: parseHeaderMatchers(match.headers, context.at('headers').path),
    queryParameters: parseQueryParameters(match.queryParameters, context.at('query_parameters').path),
    cookies: match.cookies.map(({ name, stringMatch, invertMatch }, i) => {
      const at = context.at(`cookies[${i}]`)
      if (!stringMatch) throw new ConfigError(at.at('string_match').path, 'is required')
      return { name, match: parseStringMatcher(stringMatch, at.at('string_match').path), invert: invertMatch }
    }),
    grpc: match.grpc !== undefined,
    tls: match.tlsContext
      ? { presented: match.tlsContext.presented ?? null, validated: match.tlsContext.validated ?? null }
      : null,
    dynamicMetadata: match.dynamicMetadata.map((matcher, i) =>
      parseMetadataMatcher(matcher, context.at(`dynamic_metadata[${i}]`).path),
    ),
    filterState: match.filterState.map(({ key, matcher }, i) => {
      const { path } = context.at(`filter_state[${i}].string_match`)
      if (matcher.case !== 'stringMatch') throw new ConfigError(path, 'is required')
      return { key, match: parseStringMatcher(matcher.value, path) }
    }),
  }
}

function parsePath(match: RouteMatch, context: ParseContext): PathMatchData {
  const specifier = match.pathSpecifier
  switch (specifier.case) {
    case 'prefix':
    case 'path':
      return { kind: specifier.case, value: specifier.value }
    case 'pathSeparatedPrefix':
      return { kind: 'path_separated_prefix', value: specifier.value }
    case 'safeRegex':
      checkRegex(specifier.value.regex, context.at('safe_regex.regex').path)
      return { kind: 'regex', value: specifier.value.regex }
    case 'connectMatcher':
      return { kind: 'connect' }
    case 'pathMatchPolicy': {
      const at = context.at('path_match_policy.typed_config')
      if (!specifier.value.typedConfig) throw new ConfigError(at.path, 'is required')
      const template = at.unpack(specifier.value.typedConfig, UriTemplateMatchConfigSchema).pathTemplate
      return { kind: 'regex', value: templateRegex(template, at.at('path_template').path).regex }
    }
    default:
      throw new ConfigError(
        context.path,
        'one of prefix, path, safe_regex, connect_matcher, path_separated_prefix, path_match_policy is required',
      )
  }
}

/** Also for rate-limit actions. */
export function parseQueryParameters(
  matchers: readonly QueryParameterMatcher[],
  path: string,
): QueryParameterMatcherData[] {
  return matchers.map((matcher, i) => {
    const specifier = matcher.queryParameterMatchSpecifier
    if (specifier.case === 'stringMatch') {
      const match = parseStringMatcher(specifier.value, `${path}[${i}].string_match`)
      return { name: matcher.name, match, present: true }
    }
    return { name: matcher.name, match: null, present: specifier.case === 'presentMatch' ? specifier.value : true }
  })
}
