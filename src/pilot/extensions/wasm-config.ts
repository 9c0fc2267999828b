// ECDS: the configuration of Wasm extensions. The agent beside the proxy fetches the module and names the file instead.
import { create, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import { anyPack, StringValueSchema } from '@bufbuild/protobuf/wkt'
import type { AsyncDataSource } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { AsyncDataSourceSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import { WasmSchema as HttpWasmSchema } from '../../api/gen/envoy/extensions/filters/http/wasm/v3/wasm_pb.js'
import { WasmSchema as NetworkWasmSchema } from '../../api/gen/envoy/extensions/filters/network/wasm/v3/wasm_pb.js'
import { FailurePolicy, type PluginConfig, PluginConfigSchema } from '../../api/gen/envoy/extensions/wasm/v3/wasm_pb.js'
import type { WasmConfig } from '../../config/index.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { durationOf } from '../xds/messages.ts'
import type { Extension } from './extension.ts'

/** Environment by which the control plane tells the agent how to fetch; the agent takes it out again. */
const PULL_SECRET = 'ISTIO_META_WASM_IMAGE_PULL_SECRET'
const PULL_POLICY = 'ISTIO_META_WASM_IMAGE_PULL_POLICY'
const RESOURCE_VERSION = 'ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION'
const FETCH_TIMEOUT = durationOf(30_000)
/** The agent fetches, so no cluster has to exist. */
const NO_CLUSTER = '_'

/**
 * The named extensions that a proxy may have: of its own or the root namespace. `withSecrets`: the proxy proved who it is
 * and may see the pull secrets of its namespace.
 */
export function wasmConfigs(
  proxy: ProxyNode,
  push: PushContext,
  names: ReadonlySet<string>,
  withSecrets: boolean,
): TypedExtensionConfig[] {
  const namespaces = [proxy.namespace, push.mesh.rootNamespace]
  return push.extensions
    .filter(({ resourceName, namespace, wasm }) => wasm && names.has(resourceName) && namespaces.includes(namespace))
    .map((extension) => typedConfig(extension, extension.wasm!, withSecrets ? pullSecret(extension, push) : ''))
}

function typedConfig(extension: Extension, wasm: WasmConfig, secret: string): TypedExtensionConfig {
  const config = pluginConfig(extension, wasm, secret)
  return create(TypedExtensionConfigSchema, {
    name: extension.resourceName,
    typedConfig:
      extension.chain === 'network'
        ? anyPack(NetworkWasmSchema, create(NetworkWasmSchema, { config }))
        : anyPack(HttpWasmSchema, create(HttpWasmSchema, { config })),
  })
}

const FAILURE: Readonly<Record<NonNullable<WasmConfig['failStrategy']>, FailurePolicy>> = {
  FAIL_CLOSE: FailurePolicy.FAIL_CLOSED,
  FAIL_OPEN: FailurePolicy.FAIL_OPEN,
  FAIL_RELOAD: FailurePolicy.FAIL_RELOAD,
}

function pluginConfig({ pluginName, resourceVersion }: Extension, wasm: WasmConfig, secret: string): PluginConfig {
  const keyValues: Record<string, string> = { [RESOURCE_VERSION]: resourceVersion }
  if (wasm.imagePullSecret) keyValues[PULL_SECRET] = secret
  const policy = wasm.imagePullPolicy ?? 'UNSPECIFIED_POLICY'
  if (policy !== 'UNSPECIFIED_POLICY') keyValues[PULL_POLICY] = policy
  const env = wasm.vmConfig?.env ?? []
  for (const { name, valueFrom, value } of env) if (valueFrom !== 'HOST') keyValues[name] = value ?? ''
  const settings = wasm.pluginConfig as JsonObject | undefined
  return create(PluginConfigSchema, {
    name: pluginName,
    rootId: wasm.pluginName,
    configuration:
      settings && Object.keys(settings).length > 0
        ? anyPack(StringValueSchema, create(StringValueSchema, { value: JSON.stringify(inKeyOrder(settings)) }))
        : { typeUrl: '', value: new Uint8Array() },
    failurePolicy: FAILURE[wasm.failStrategy ?? 'FAIL_CLOSE'],
    vm: {
      case: 'vmConfig',
      value: {
        runtime: 'envoy.wasm.runtime.v8',
        code: moduleAt(wasm),
        environmentVariables: { keyValues, hostEnvKeys: env.filter((e) => e.valueFrom === 'HOST').map((e) => e.name) },
      },
    },
  })
}

/** Equal settings as equal bytes, whatever the order they were written in. */
function inKeyOrder(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(inKeyOrder)
  if (typeof value !== 'object' || value === null) return value
  const keys = Object.keys(value).sort()
  return Object.fromEntries(keys.map((key) => [key, inKeyOrder(value[key]!)]))
}

/** A file beside the proxy, or an address; without a scheme an OCI image. */
function moduleAt({ url, sha256 }: WasmConfig): AsyncDataSource {
  if (url.startsWith('file://')) {
    return create(AsyncDataSourceSchema, {
      specifier: { case: 'local', value: { specifier: { case: 'filename', value: url.slice('file://'.length) } } },
    })
  }
  return create(AsyncDataSourceSchema, {
    specifier: {
      case: 'remote',
      value: {
        httpUri: {
          uri: url.includes('://') ? url : `oci://${url}`,
          httpUpstreamType: { case: 'cluster', value: NO_CLUSTER },
          timeout: FETCH_TIMEOUT,
        },
        sha256,
      },
    },
  })
}

/** The image pull secret of the extension's own namespace: the Docker configuration in it, empty when there is none. */
function pullSecret({ namespace, wasm }: Extension, push: PushContext): string {
  const name = wasm?.imagePullSecret?.replace(/^.*\//, '') ?? ''
  const secret = push.credentials.get(`Secret/${namespace}/${name}`) as { data?: Record<string, unknown> } | undefined
  const encoded = secret?.data?.['.dockerconfigjson']
  return typeof encoded === 'string' ? Buffer.from(encoded, 'base64').toString('utf8') : ''
}
