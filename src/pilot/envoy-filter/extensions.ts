// ECDS: extension configurations that EnvoyFilters add and filters refer to by name.
import { clone } from '@bufbuild/protobuf'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { patchesFor } from './select.ts'

/** The named configurations that exist; of several additions under one name the last counts. */
export function generateExtensionConfigs(
  proxy: ProxyNode,
  push: PushContext,
  names: Iterable<string>,
): TypedExtensionConfig[] {
  const byName = new Map<string, TypedExtensionConfig>()
  for (const patch of patchesFor(proxy, push).patches.get('EXTENSION_CONFIG') ?? []) {
    if (patch.operation !== 'ADD') continue
    const value = patch.value as TypedExtensionConfig
    byName.set(value.name, value)
  }
  const out: TypedExtensionConfig[] = []
  for (const name of names) {
    const value = byName.get(name)
    if (value) out.push(clone(TypedExtensionConfigSchema, value))
  }
  return out
}
