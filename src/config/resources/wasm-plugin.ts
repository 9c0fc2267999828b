import { type Infer, integer, list, map, message, oneOfNames, required, string, struct } from '../schema.ts'
import { policySelector, targetReference, targetReferences } from './common.ts'

export const wasmPlugin = message({
  selector: policySelector,
  targetRef: targetReference,
  targetRefs: targetReferences,
  url: required(string({ minLength: 1 })),
  sha256: string({ pattern: /^$|^[a-f0-9]{64}$/ }),
  imagePullPolicy: oneOfNames('UNSPECIFIED_POLICY', 'IfNotPresent', 'Always'),
  imagePullSecret: string({ minLength: 1, maxLength: 253 }),
  verificationKey: string(),
  pluginConfig: struct,
  pluginName: string({ minLength: 1, maxLength: 256 }),
  phase: oneOfNames('UNSPECIFIED_PHASE', 'AUTHN', 'AUTHZ', 'STATS'),
  failStrategy: oneOfNames('FAIL_CLOSE', 'FAIL_OPEN', 'FAIL_RELOAD'),
  priority: integer(),
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
  match: list(
    message({
      mode: oneOfNames('UNDEFINED', 'CLIENT', 'SERVER', 'CLIENT_AND_SERVER'),
      ports: list(message({ number: required(integer({ min: 1, max: 65535 })) })),
    }),
  ),
  type: oneOfNames('UNSPECIFIED_PLUGIN_TYPE', 'HTTP', 'NETWORK'),
})
export type WasmPluginSpec = Infer<typeof wasmPlugin>

/** The ProxyConfig resource (not the mesh-wide message of the same name). */
export const proxyConfigResource = message({
  selector: policySelector,
  concurrency: integer({ min: 0 }),
  environmentVariables: map(string({ maxLength: 2048 })),
  image: message({ imageType: string() }),
})
export type ProxyConfigResourceSpec = Infer<typeof proxyConfigResource>
