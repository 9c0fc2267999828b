// Parts that several route messages share: metadata, fractions, header mutations, per-filter configuration.

import type { Any } from '@bufbuild/protobuf/wkt'
import type { HeaderMutation } from '../../api/gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js'
import {
  type HeaderValueOption,
  type Metadata,
  HeaderValueOption_HeaderAppendAction as ProtoAppend,
  type RuntimeFractionalPercent,
} from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { FilterConfigSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type FractionalPercent, FractionalPercent_DenominatorType } from '../../api/gen/envoy/type/v3/percent_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { knowsType } from '../config/extension-registry.ts'
import {
  AppendAction,
  type FractionData,
  type HeaderMutationsData,
  type HeaderToAddData,
  type MetadataData,
  type PerFilterConfigs,
  type PerFilterData,
} from './config.ts'
import { checkHeaderFormat } from './header-mutation.ts'
import { parseStringMatcher } from './string-matcher.ts'

export function parseMetadata(metadata: Metadata | undefined): MetadataData | null {
  if (!metadata || Object.keys(metadata.filterMetadata).length === 0) return null
  return metadata.filterMetadata as MetadataData
}

/** What a subset balancer reads: the namespace `envoy.lb`. */
export function parseLbMetadata(metadata: Metadata | undefined): Readonly<Record<string, unknown>> | null {
  return (metadata?.filterMetadata['envoy.lb'] as Record<string, unknown> | undefined) ?? null
}

const MILLION: Readonly<Record<FractionalPercent_DenominatorType, number>> = {
  [FractionalPercent_DenominatorType.HUNDRED]: 10_000,
  [FractionalPercent_DenominatorType.TEN_THOUSAND]: 100,
  [FractionalPercent_DenominatorType.MILLION]: 1,
}

/** A fraction in millionths; absent = `fallback`. */
export function millionths(percent: FractionalPercent | undefined, fallback: number): number {
  return percent ? percent.numerator * unitMillionths(percent) : fallback
}

/** Millionths that one unit of the numerator stands for. */
export function unitMillionths(percent: FractionalPercent | undefined): number {
  return percent ? (MILLION[percent.denominator] ?? 10_000) : 10_000
}

/** Envoy's meaning of a present message without default_value is 0 %. */
export function parseFraction(fraction: RuntimeFractionalPercent | undefined): FractionData | null {
  if (!fraction) return null
  return { millionths: millionths(fraction.defaultValue, 0), runtimeKey: fraction.runtimeKey }
}

const APPEND: Readonly<Record<ProtoAppend, AppendAction>> = {
  [ProtoAppend.APPEND_IF_EXISTS_OR_ADD]: AppendAction.AppendIfExistsOrAdd,
  [ProtoAppend.ADD_IF_ABSENT]: AppendAction.AddIfAbsent,
  [ProtoAppend.OVERWRITE_IF_EXISTS_OR_ADD]: AppendAction.OverwriteIfExistsOrAdd,
  [ProtoAppend.OVERWRITE_IF_EXISTS]: AppendAction.OverwriteIfExists,
}

/** Names that routes may not touch: pseudo-headers and the host (envoy-contract §7.4). */
function isReserved(name: string): boolean {
  return name.startsWith(':') || name.toLowerCase() === 'host'
}

/**
 * `<what>_headers_to_add` and `<what>_headers_to_remove` of one level; null when both are empty.
 * Throws ConfigError for reserved names and bad formats.
 */
export function parseHeaderMutations(
  add: readonly HeaderValueOption[],
  remove: readonly string[],
  what: 'request' | 'response',
  context: ParseContext,
): HeaderMutationsData | null {
  if (add.length === 0 && remove.length === 0) return null
  return {
    add: add.map((option, i) => parseHeaderToAdd(option, context.at(`${what}_headers_to_add[${i}]`))),
    remove: remove.map((name, i) => {
      if (isReserved(name)) {
        throw new ConfigError(
          context.at(`${what}_headers_to_remove[${i}]`).path,
          ':-prefixed or host headers may not be removed',
        )
      }
      return name.toLowerCase()
    }),
  }
}

export function parseHeaderToAdd(option: HeaderValueOption, context: ParseContext): HeaderToAddData {
  const header = option.header
  if (!header) throw new ConfigError(context.at('header').path, 'is required')
  if (isReserved(header.key)) {
    throw new ConfigError(context.at('header.key').path, ':-prefixed or host headers may not be modified')
  }
  if (option.append !== undefined && option.appendAction !== ProtoAppend.APPEND_IF_EXISTS_OR_ADD) {
    throw new ConfigError(context.path, 'both append and append_action are set: keep append_action only')
  }
  const value = header.rawValue.length > 0 ? Buffer.from(header.rawValue).toString('latin1') : header.value
  checkHeaderFormat(value, context.at('header.value').path)
  return {
    name: header.key.toLowerCase(),
    value,
    action:
      option.append === false
        ? AppendAction.OverwriteIfExistsOrAdd
        : (APPEND[option.appendAction] ?? AppendAction.AppendIfExistsOrAdd),
    keepEmpty: option.keepEmptyValue,
  }
}

/** envoy.config.common.mutation_rules.v3.HeaderMutation: one change, as a list of changes. */
export function parseHeaderMutation({ action }: HeaderMutation, context: ParseContext): HeaderMutationsData {
  switch (action.case) {
    case 'remove':
      return { add: [], remove: [action.value.toLowerCase()] }
    case 'append':
      return { add: [parseHeaderToAdd(action.value, context.at('append'))], remove: [] }
    case 'removeOnMatch': {
      const { path } = context.at('remove_on_match.key_matcher')
      if (!action.value.keyMatcher) throw new ConfigError(path, 'is required')
      return { add: [], remove: [], removeMatching: parseStringMatcher(action.value.keyMatcher, path) }
    }
    default:
      throw new ConfigError(context.path, 'one of remove, append, remove_on_match is required')
  }
}

/** typed_per_filter_config of one level, FilterConfig wrappers opened. */
export function parsePerFilter(configs: Readonly<Record<string, Any>>, context: ParseContext): PerFilterConfigs {
  const out: Record<string, PerFilterData> = {}
  for (const [name, any] of Object.entries(configs)) {
    const at = context.at(`typed_per_filter_config["${name}"]`)
    if (typeNameOf(any.typeUrl) !== FilterConfigSchema.typeName) {
      out[name] = { config: at.parseAny('http_route_filter', any, name).config, disabled: undefined }
      continue
    }
    const wrapper = at.unpack(any, FilterConfigSchema)
    if (!wrapper.config) {
      if (!wrapper.disabled) throw new ConfigError(at.at('config').path, 'is required unless the filter is disabled')
      out[name] = { config: undefined, disabled: true }
    } else if (!wrapper.isOptional || knowsType(wrapper.config.typeUrl)) {
      out[name] = {
        config: at.at('config').parseAny('http_route_filter', wrapper.config, name).config,
        disabled: wrapper.disabled,
      }
    }
  }
  return out
}
