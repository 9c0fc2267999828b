// Telemetry, EnvoyFilter, WasmPlugin, TrafficExtension, ProxyConfig.
import type { EnvoyFilter, ProxyConfigResource, Telemetry, TrafficExtension, WasmPlugin } from '../resource.ts'
import type { WasmConfig } from '../resources/wasm-plugin.ts'
import type { Problems } from '../schema.ts'
import { checkLabels, checkSelector, checkTargets } from './common.ts'

export function validateTelemetry({ spec }: Telemetry, problems: Problems): void {
  checkTargets(spec, problems)
  spec.metrics?.forEach((metrics, i) => {
    metrics.overrides?.forEach((override, j) => {
      for (const [tag, change] of Object.entries(override.tagOverrides ?? {})) {
        const path = `spec.metrics[${i}].overrides[${j}].tagOverrides[${JSON.stringify(tag)}]`
        if (change.operation === 'REMOVE' && change.value)
          problems.error(`${path}.value`, 'may be set only when operation is UPSERT')
        if (change.operation !== 'REMOVE' && !change.value)
          problems.error(`${path}.value`, 'is required when operation is UPSERT')
      }
    })
  })
  spec.tracing?.forEach((tracing, i) => {
    const path = `spec.tracing[${i}]`
    if ((tracing.providers?.length ?? 0) > 1) problems.warning(`${path}.providers`, 'only the first provider is used')
    for (const [name, tag] of Object.entries(tracing.customTags ?? {})) {
      const at = `${path}.customTags[${JSON.stringify(name)}]`
      if (name === '') problems.error(at, 'a tag needs a name')
      if (Object.keys(tag).length === 0) problems.error(at, 'must set literal, environment, header or formatter')
    }
  })
}

const LISTENER_KINDS = new Set(['LISTENER', 'FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER', 'LISTENER_FILTER'])
const ROUTE_KINDS = new Set(['ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE'])

export function validateEnvoyFilter({ spec }: EnvoyFilter, problems: Problems): void {
  problems.warning('spec', 'EnvoyFilter depends on internals that may change with any version', 'prefer another API')
  if (spec.workloadSelector && spec.targetRefs?.length)
    problems.error('spec', 'only one of workloadSelector and targetRefs can be set')
  if (spec.workloadSelector?.labels) checkLabels(spec.workloadSelector.labels, 'spec.workloadSelector.labels', problems)
  spec.configPatches?.forEach((one, i) => {
    const path = `spec.configPatches[${i}]`
    const { applyTo = 'INVALID', match, patch } = one
    if (applyTo === 'INVALID') {
      problems.error(`${path}.applyTo`, 'is required')
      return
    }
    if (!patch) {
      problems.error(`${path}.patch`, 'is required')
      return
    }
    const operation = patch.operation ?? 'INVALID'
    if (operation === 'INVALID') problems.error(`${path}.patch.operation`, 'is required')
    if (operation !== 'REMOVE' && patch.value === undefined)
      problems.error(`${path}.patch.value`, `is required for ${operation}`)
    if (
      operation === 'MERGE_AND_REPLACE_LIST' &&
      (applyTo === 'LISTENER' || applyTo === 'CLUSTER' || applyTo === 'EXTENSION_CONFIG')
    ) {
      problems.warning(`${path}.patch.operation`, `MERGE_AND_REPLACE_LIST on ${applyTo} replaces every list it names`)
    }
    if (match?.proxy?.proxyVersion !== undefined) {
      try {
        new RegExp(match.proxy.proxyVersion)
      } catch {
        problems.error(`${path}.match.proxy.proxyVersion`, 'is not a regular expression')
      }
    }
    if (LISTENER_KINDS.has(applyTo) && (match?.routeConfiguration || match?.cluster)) {
      problems.error(`${path}.match`, `applyTo ${applyTo} can match only a listener`)
    }
    if (ROUTE_KINDS.has(applyTo) && (match?.listener || match?.cluster)) {
      problems.error(`${path}.match`, `applyTo ${applyTo} can match only a routeConfiguration`)
    }
    if (applyTo === 'CLUSTER' && (match?.listener || match?.routeConfiguration)) {
      problems.error(`${path}.match`, 'applyTo CLUSTER can match only a cluster')
    }
    if (
      (applyTo === 'NETWORK_FILTER' || applyTo === 'HTTP_FILTER') &&
      match?.listener?.filterChain?.filter?.subFilter &&
      !match.listener.filterChain.filter.name
    ) {
      problems.error(`${path}.match.listener.filterChain.filter.name`, 'is required when subFilter is given')
    }
  })
}

const SCHEMES = new Set(['', 'http', 'https', 'file', 'oci'])

export function validateWasmPlugin({ spec }: WasmPlugin, problems: Problems): void {
  checkTargets(spec, problems)
  validateModule(spec, 'spec', problems)
}

export function validateTrafficExtension({ spec }: TrafficExtension, problems: Problems): void {
  checkTargets(spec, problems)
  if (!spec.wasm && !spec.lua) problems.error('spec', 'one of wasm and lua is required')
  if (spec.wasm) validateModule(spec.wasm, 'spec.wasm', problems)
}

function validateModule(spec: WasmConfig, at: string, problems: Problems): void {
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\//.exec(spec.url)?.[1] ?? ''
  if (!SCHEMES.has(scheme))
    problems.error(`${at}.url`, `scheme "${scheme}" is not supported`, 'use http, https, file or oci')
  const names = new Set<string>()
  spec.vmConfig?.env?.forEach((env, i) => {
    const path = `${at}.vmConfig.env[${i}]`
    if (names.has(env.name)) problems.error(`${path}.name`, `"${env.name}" is defined twice`)
    names.add(env.name)
    if (env.valueFrom === 'HOST' && env.value)
      problems.error(`${path}.value`, 'may be set only when valueFrom is INLINE')
  })
}

export function validateProxyConfig({ spec }: ProxyConfigResource, problems: Problems): void {
  checkSelector(spec.selector, 'spec.selector', problems)
}
