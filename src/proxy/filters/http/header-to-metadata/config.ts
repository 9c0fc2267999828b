// envoy.filters.http.header_to_metadata: configuration; a route's takes the place of the filter's.

import {
  type Config,
  type Config_KeyValuePair,
  type Config_Rule,
  ConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { checkRegexSubstitution, type RegexSubstitutionData } from '../../../route/regex.ts'
import { createHeaderToMetadataFilter } from './filter.ts'

/** What becomes of a value. */
export interface ToMetadata {
  readonly namespace: string
  readonly key: string
  /** In place of the header's; '' = the header's. */
  readonly value: string
  readonly rewrite: RegexSubstitutionData | null
  readonly type: 'string' | 'number' | 'protobuf_value'
  readonly base64: boolean
}

export interface MetadataRule {
  /** A header's name in lower case, or a cookie's. */
  readonly name: string
  readonly cookie: boolean
  readonly onPresent: ToMetadata | null
  readonly onMissing: ToMetadata | null
  readonly remove: boolean
}

export interface HeaderToMetadataConfig {
  readonly request: readonly MetadataRule[]
  readonly response: readonly MetadataRule[]
  /** '' = nothing is counted. */
  readonly statPrefix: string
}

export const headerToMetadataFilter: HttpFilterExtension<HeaderToMetadataConfig, HeaderToMetadataConfig> = {
  name: 'envoy.filters.http.header_to_metadata',
  desc: ConfigSchema,
  parse: (message, context) => parse(message as Config, context),
  routeDesc: ConfigSchema,
  parseRoute: (message, context) => {
    const config = parse(message as Config, context)
    if (config.request.length === 0 && config.response.length === 0)
      throw new ConfigError(context.path, 'a route needs request_rules or response_rules')
    return config
  },
  create: createHeaderToMetadataFilter,
}

const NAMESPACE = 'envoy.filters.http.header_to_metadata'
const TYPES = ['string', 'number', 'protobuf_value'] as const

function parse({ requestRules, responseRules, statPrefix }: Config, context: ParseContext): HeaderToMetadataConfig {
  return {
    request: requestRules.map((rule, i) => parseRule(rule, context.at(`request_rules[${i}]`))),
    response: responseRules.map((rule, i) => parseRule(rule, context.at(`response_rules[${i}]`))),
    statPrefix,
  }
}

function parseRule(rule: Config_Rule, at: ParseContext): MetadataRule {
  const { header, cookie, onHeaderPresent: present, onHeaderMissing: missing, remove } = rule
  if (header !== '' && cookie !== '') throw new ConfigError(at.path, 'header and cookie exclude each other')
  if (header === '' && cookie === '') throw new ConfigError(at.path, 'one of header, cookie is required')
  if (!present && !missing) throw new ConfigError(at.path, 'one of on_header_present, on_header_missing is required')
  if (cookie !== '' && remove) throw new ConfigError(at.at('remove').path, 'cookies cannot be removed')
  if (missing && missing.value === '') throw new ConfigError(at.at('on_header_missing.value').path, 'is required')
  return {
    name: header.toLowerCase() || cookie,
    cookie: cookie !== '',
    onPresent: present ? parsePair(present, at.at('on_header_present')) : null,
    onMissing: missing ? parsePair(missing, at.at('on_header_missing')) : null,
    remove,
  }
}

function parsePair(pair: Config_KeyValuePair, at: ParseContext): ToMetadata {
  const rewrite = pair.regexValueRewrite
  if (rewrite && pair.value !== '') throw new ConfigError(at.path, 'value and regex_value_rewrite exclude each other')
  const substitution = rewrite ? { regex: rewrite.pattern?.regex ?? '', substitution: rewrite.substitution } : null
  if (substitution) checkRegexSubstitution(substitution, at.at('regex_value_rewrite').path)
  return {
    namespace: pair.metadataNamespace || NAMESPACE,
    key: pair.key,
    value: pair.value,
    rewrite: substitution,
    type: TYPES[pair.type]!,
    base64: pair.encode === 1,
  }
}
