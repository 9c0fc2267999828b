// Extensions of the proxy's filter chains: WasmPlugin, TrafficExtension, and the ProxyConfig resource.
import { type Infer, integer, list, map, message, oneOfNames, required, string, struct } from '../schema.ts'
import { policySelector, targetReference, targetReferences } from './common.ts'

/** What both kinds say of a module. */
const wasmFields = {
  url: required(string({ minLength: 1 })),
  sha256: string({ pattern: /^$|^[a-f0-9]{64}$/ }),
  imagePullPolicy: oneOfNames('UNSPECIFIED_POLICY', 'IfNotPresent', 'Always'),
  imagePullSecret: string({ minLength: 1, maxLength: 253 }),
  verificationKey: string(),
  pluginConfig: struct,
  pluginName: string({ minLength: 1, maxLength: 256 }),
  failStrategy: oneOfNames('FAIL_CLOSE', 'FAIL_OPEN', 'FAIL_RELOAD'),
  vmConfig: message({
    env: list(
      message({
        name: required(string({ minLength: 1, maxLength: 256 })),
        valueFrom: oneOfNames('INLINE', 'HOST'),
        value: string({ maxLength: 2048 }),
      }),
      { max: 256 },
    ),
  }),
  type: oneOfNames('UNSPECIFIED_PLUGIN_TYPE', 'HTTP', 'NETWORK'),
}

/** Which listeners an extension is for. */
const trafficSelectors = list(
  message({
    mode: oneOfNames('UNDEFINED', 'CLIENT', 'SERVER', 'CLIENT_AND_SERVER'),
    ports: list(message({ number: required(integer({ min: 1, max: 65535 })) })),
  }),
)
export type TrafficSelectors = Infer<typeof trafficSelectors>

export const wasmPlugin = message({
  selector: policySelector,
  targetRef: targetReference,
  targetRefs: targetReferences,
  phase: oneOfNames('UNSPECIFIED_PHASE', 'AUTHN', 'AUTHZ', 'STATS'),
  priority: integer(),
  match: trafficSelectors,
  ...wasmFields,
})
export type WasmPluginSpec = Infer<typeof wasmPlugin>

const wasmConfig = message(wasmFields)
export type WasmConfig = Infer<typeof wasmConfig>

/** 64 KiB of Lua: more is refused, as by istiod. */
const luaConfig = message({ inlineCode: required(string({ minLength: 1, maxLength: 65536 })) })

export const trafficExtension = message(
  {
    selector: policySelector,
    targetRefs: targetReferences,
    phase: oneOfNames('UNSPECIFIED', 'AUTHN', 'AUTHZ', 'STATS'),
    priority: integer(),
    match: trafficSelectors,
    wasm: wasmConfig,
    lua: luaConfig,
  },
  { oneof: [['wasm', 'lua']] },
)
export type TrafficExtensionSpec = Infer<typeof trafficExtension>

/** The ProxyConfig resource (not the mesh-wide message of the same name). */
export const proxyConfigResource = message({
  selector: policySelector,
  concurrency: integer({ min: 0 }),
  environmentVariables: map(string({ maxLength: 2048 })),
  image: message({ imageType: string() }),
})
export type ProxyConfigResourceSpec = Infer<typeof proxyConfigResource>
