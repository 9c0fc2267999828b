// Which extensions this build has, and the parse context through which one extension reaches another.

import { type DescMessage, fromBinary, type JsonValue, type MessageShape } from '@bufbuild/protobuf'
import { type Any, anyUnpack } from '@bufbuild/protobuf/wkt'
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import type { Tracing_Http } from '../../api/gen/envoy/config/trace/v3/http_tracer_pb.js'
import { TypedStructSchema as UdpaTypedStruct } from '../../api/gen/udpa/type/v1/typed_struct_pb.js'
import { TypedStructSchema as XdsTypedStruct } from '../../api/gen/xds/type/v3/typed_struct_pb.js'
import { messageType, typeNameOf } from '../../api/registry.ts'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { DiscoveryNeed } from './discovery.ts'
import type { ExtensionCategory, ParseContext, ParsedExtension, RouteNeed } from './extension.ts'
import { parseJson } from './json.ts'
import { secretKey } from './secret-key.ts'
import { checkRules } from './validate-rules.ts'

/** What every extension has, whatever its category adds. */
export interface Extension {
  readonly name: string
  readonly desc: DescMessage
  // biome-ignore lint/suspicious/noExplicitAny: the message is of type `desc`, which only the extension knows
  parse(message: any, context: ParseContext): unknown
}

/** An explicit list of extensions by category; registering a type twice is an error. */
export class ExtensionRegistry {
  private readonly byType = new Map<string, Extension>()
  /** The bootstrap's `tracing.http`: of connection managers that trace and name no provider. */
  defaultTracer: Tracing_Http | undefined

  register(category: ExtensionCategory, extension: Extension): void {
    const key = `${category}/${extension.desc.typeName}`
    if (this.byType.has(key)) throw new Error(`extension ${key} registered twice`)
    this.byType.set(key, extension)
  }

  /** By the type of its configuration message, as Envoy looks extensions up. */
  get(category: ExtensionCategory, typeName: string): Extension | undefined {
    return this.byType.get(`${category}/${typeName}`)
  }

  /** Names of one category, for `/server_info` and error texts. */
  names(category: ExtensionCategory): string[] {
    return [...this.byType].filter(([key]) => key.startsWith(`${category}/`)).map(([, e]) => e.name)
  }

  /** Every category and name, for `node.extensions`. */
  all(): { category: string; name: string; typeName: string }[] {
    return [...this.byType].map(([key, e]) => ({
      category: key.slice(0, key.indexOf('/')),
      name: e.name,
      typeName: e.desc.typeName,
    }))
  }
}

/** Route and secret names that a parsed resource waits for. */
export interface Dependencies {
  readonly routes: Map<string, RouteNeed>
  readonly extensions: Map<string, DiscoveryNeed>
  /** Key (secret-key.ts) → where to ask for it (undefined: a static secret). */
  readonly secrets: Map<string, ConfigSource | undefined>
  /** Name → the field that wants it to be there. */
  readonly clusters: Map<string, string>
}

export function noDependencies(): Dependencies {
  return { routes: new Map(), extensions: new Map(), secrets: new Map(), clusters: new Map() }
}

/** The ParseContext of one resource (a listener, a cluster, …). */
export function createParseContext(
  registry: ExtensionRegistry,
  dependencies: Dependencies = noDependencies(),
  path = '',
): ParseContext {
  const join = (field: string): string => (path && !field.startsWith('[') ? `${path}.${field}` : path + field)
  return {
    path,
    defaultTracer: registry.defaultTracer,
    at: (field) => createParseContext(registry, dependencies, join(field)),
    parseAny: (category, any, name) => parseAny(registry, dependencies, category, any, name, path),
    unpack: (any, desc) => unpackAs(any, desc, path),
    needsRoute: (name, need) => void dependencies.routes.set(name, need),
    needsExtension: (name, need) => void dependencies.extensions.set(name, need),
    knowsExtension: (category, typeName) => registry.get(category, typeName) !== undefined,
    needsSecret: (name, source) => {
      const key = secretKey(name, source)
      dependencies.secrets.set(key, source)
      return key
    },
    needsCluster: (name, field) => void dependencies.clusters.set(name, field),
  }
}

function parseAny(
  registry: ExtensionRegistry,
  dependencies: Dependencies,
  category: ExtensionCategory,
  any: Any | undefined,
  name: string,
  path: string,
): ParsedExtension {
  if (!any) throw new ConfigError(path, `extension "${name}" has no typed_config`)
  const typeName = innerTypeName(any, path)
  const extension = registry.get(category, typeName)
  if (!extension) {
    throw new ConfigError(
      path,
      `no ${category.replaceAll('_', ' ')} extension "${name}" of type ${typeName || '(empty)'}; this build has: ${registry.names(category).join(', ') || 'none'}`,
    )
  }
  const message = unpackAs(any, extension.desc, path)
  return { name, typeUrl: typeName, config: extension.parse(message, createParseContext(registry, dependencies, path)) }
}

function innerTypeName(any: Any, path: string): string {
  const name = typeNameOf(any.typeUrl)
  if (name !== UdpaTypedStruct.typeName && name !== XdsTypedStruct.typeName) return name
  return typeNameOf(typedStruct(any, path).typeUrl)
}

function typedStruct(any: Any, path: string): { typeUrl: string; value?: unknown } {
  const desc = typeNameOf(any.typeUrl) === UdpaTypedStruct.typeName ? UdpaTypedStruct : XdsTypedStruct
  const message = anyUnpack(any, desc)
  if (!message) throw new ConfigError(path, `${any.typeUrl} does not decode`)
  return message
}

/** Decodes `any` as `desc`, through TypedStruct when it is wrapped in one, and checks validate.rules. */
export function unpackAs<Desc extends DescMessage>(any: Any, desc: Desc, path: string): MessageShape<Desc> {
  const name = typeNameOf(any.typeUrl)
  let message: MessageShape<Desc>
  if (name === UdpaTypedStruct.typeName || name === XdsTypedStruct.typeName) {
    const struct = typedStruct(any, path)
    const inner = typeNameOf(struct.typeUrl)
    if (inner !== desc.typeName) throw new ConfigError(path, `expected ${desc.typeName}, got ${inner}`)
    message = parseJson(desc, (struct.value ?? {}) as JsonValue, { path })
  } else {
    if (name !== desc.typeName)
      throw new ConfigError(path, `expected ${desc.typeName}, got ${name || 'an empty type URL'}`)
    try {
      message = fromBinary(desc, any.value)
    } catch (error) {
      throw new ConfigError(path, `does not decode as ${desc.typeName}: ${errorText(error)}`, { cause: error })
    }
  }
  checkRules(desc, message, path)
  return message
}

/** True when the type URL names a message we have the descriptor of. */
export function knowsType(typeUrl: string): boolean {
  return messageType(typeNameOf(typeUrl)) !== undefined
}
