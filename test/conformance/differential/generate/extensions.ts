// Extensions: WasmPlugins and TrafficExtensions.
import type { Draw } from './draw.ts'
import { attachment, PORTS } from './vocabulary.ts'

const MODE = ['CLIENT', 'SERVER', 'CLIENT_AND_SERVER', 'UNDEFINED'] as const

const match = (draw: Draw) =>
  draw.maybe(0.3, () => [{ mode: draw.pick(MODE), ports: draw.maybe(0.5, () => [{ number: draw.pick(PORTS) }]) }])
const priority = (draw: Draw) => draw.maybe(0.4, () => draw.between(-3, 3))
const phase = (draw: Draw) => draw.maybe(0.6, () => draw.pick(['AUTHN', 'AUTHZ', 'STATS', 'UNSPECIFIED_PHASE']))

/** Of a pull secret, some that exist and one that does not. */
const PULL_SECRETS = ['pull', 'pull', 'missing'] as const

function module(draw: Draw): object {
  return {
    url: draw.pick(['oci://example.com/m:1', 'file:///opt/m.wasm', 'https://example.com/m.wasm', 'example.com/m:2']),
    type: draw.maybe(0.4, () => draw.pick(['HTTP', 'NETWORK', 'UNSPECIFIED_PLUGIN_TYPE'])),
    failStrategy: draw.maybe(0.4, () => draw.pick(['FAIL_OPEN', 'FAIL_CLOSE', 'FAIL_RELOAD'])),
    imagePullPolicy: draw.maybe(0.3, () => draw.pick(['Always', 'IfNotPresent', 'UNSPECIFIED_POLICY'])),
    imagePullSecret: draw.maybe(0.3, () => draw.pick(PULL_SECRETS)),
    sha256: draw.maybe(0.15, () => 'ab'.repeat(32)),
    verificationKey: draw.maybe(0.08, () => 'key'),
    pluginName: draw.maybe(0.3, () => 'plug'),
    pluginConfig: draw.maybe(0.4, () => ({ a: 1 })),
    vmConfig: draw.maybe(0.2, () => ({
      env: [
        { name: 'E', value: 'v', valueFrom: draw.pick([undefined, 'INLINE']) },
        { name: 'H', valueFrom: 'HOST' },
      ],
    })),
  }
}

export function wasmPlugin(draw: Draw): object {
  return {
    ...attachment(draw),
    ...module(draw),
    phase: phase(draw),
    priority: priority(draw),
    match: match(draw),
  }
}

export function trafficExtension(draw: Draw): object {
  return {
    ...attachment(draw),
    phase: draw.maybe(0.6, () => draw.pick(['AUTHN', 'AUTHZ', 'STATS', 'UNSPECIFIED'])),
    priority: priority(draw),
    match: match(draw),
    ...draw.either<object>(
      () => ({ wasm: module(draw) }),
      () => ({ lua: { inlineCode: 'function envoy_on_request(handle) end' } }),
    ),
  }
}
