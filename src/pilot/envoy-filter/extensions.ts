// ECDS: extension configurations that filters refer to by name, of EnvoyFilters and of Wasm extensions.
import { clone } from '@bufbuild/protobuf'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import { wasmConfigs } from '../extensions/wasm-config.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { patchesFor } from './select.ts'

/** The named configurations that exist; of several EnvoyFilter additions under one name the last counts. */
export function generateExtensionConfigs(
  proxy: ProxyNode,
  push: PushContext,
  names: Iterable<string>,
  withSecrets = false,
): TypedExtensionConfig[] {
  const byName = new Map<string, TypedExtensionConfig>()
  for (const patch of patchesFor(proxy, push).patches.get('EXTENSION_CONFIG') ?? []) {
    if (patch.operation !== 'ADD') continue
    const value = patch.value as TypedExtensionConfig
    byName.set(value.name, value)
  }
  const out: TypedExtensionConfig[] = []
  const wanted = new Set(names)
  for (const name of wanted) {
    const value = byName.get(name)
    if (value) out.push(clone(TypedExtensionConfigSchema, value))
  }
  return [...out, ...wasmConfigs(proxy, push, wanted, withSecrets)]
}
