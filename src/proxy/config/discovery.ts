// config_discovery: a filter whose configuration is a resource of its own (ECDS), perhaps with one to begin with.

import type { ConfigSource, ExtensionConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ExtensionCategory, ParseContext, ParsedExtension } from './extension.ts'

/** What a resource is discovered for. */
export interface DiscoveryNeed {
  readonly category: ExtensionCategory
  readonly source: ConfigSource | undefined
  /** The configuration must be one of these, without the `type.googleapis.com/` prefix. */
  readonly typeNames: readonly string[]
  /** The default configuration serves until the first one comes. */
  readonly withoutWarming: boolean
}

/** Names the resource as needed; the default configuration, or null. Throws ConfigError. */
export function parseDiscovery(
  category: ExtensionCategory,
  message: ExtensionConfigSource,
  name: string,
  context: ParseContext,
): ParsedExtension | null {
  const typeNames = message.typeUrls.map(typeNameOf)
  for (const [i, typeName] of typeNames.entries()) {
    if (!context.knowsExtension(category, typeName))
      throw new ConfigError(
        context.at(`type_urls[${i}]`).path,
        `Error: no factory found for a required type URL ${typeName}.`,
      )
  }
  if (message.applyDefaultConfigWithoutWarming && !message.defaultConfig)
    throw new ConfigError(
      context.at('apply_default_config_without_warming').path,
      `Error: filter config ${name} applied without warming but has no default config.`,
    )
  context.needsExtension(name, {
    category,
    source: message.configSource,
    typeNames,
    withoutWarming: message.applyDefaultConfigWithoutWarming,
  })
  if (!message.defaultConfig) return null
  const at = context.at('default_config')
  const parsed = at.parseAny(category, message.defaultConfig, name)
  checkDiscoveredType(parsed, typeNames, at.path)
  return parsed
}

/** Throws ConfigError for a configuration of another type than was asked for. */
export function checkDiscoveredType({ typeUrl }: ParsedExtension, typeNames: readonly string[], path: string): void {
  if (!typeNames.includes(typeUrl))
    throw new ConfigError(path, `Error: filter config has type URL ${typeUrl} but expect ${typeNames.join(', ')}.`)
}
