// Telemetry, EnvoyFilter, WasmPlugin, TrafficExtension, ProxyConfig.
import type { EnvoyFilter, ProxyConfigResource, Telemetry, TrafficExtension, WasmPlugin } from '../resource.ts'
import type { EnvoyConfigObjectPatch } from '../resources/envoy-filter.ts'
import type { TrafficSelectors, WasmConfig } from '../resources/wasm-plugin.ts'
import type { Problems } from '../schema.ts'
import { checkCel } from './cel.ts'
import { checkLabels, checkSelector, checkTargets } from './common.ts'
import { checkRegex } from './regex.ts'

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
  if ((spec.tracing?.length ?? 0) > 1) problems.warning('spec.tracing', 'multiple tracing is not currently supported')
  spec.accessLogging?.forEach(({ filter }, i) => {
    if (filter) checkCel(filter.expression ?? '', `spec.accessLogging[${i}].filter.expression`, problems)
  })
  spec.tracing?.forEach((tracing, i) => {
    const path = `spec.tracing[${i}]`
    if ((tracing.providers?.length ?? 0) > 1) problems.warning(`${path}.providers`, 'only the first provider is used')
    for (const [name, tag] of Object.entries(tracing.customTags ?? {})) {
      const at = `${path}.customTags[${JSON.stringify(name)}]`
      if (name === '') problems.error(at, 'a tag needs a name')
      if (Object.keys(tag).length === 0)
        problems.warning(at, 'sets none of literal, environment, header and formatter, and is left out')
    }
  })
}

const LISTENER_KINDS = new Set(['LISTENER', 'FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER'])
const ROUTE_KINDS = new Set(['ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE'])

export function validateEnvoyFilter({ spec }: EnvoyFilter, problems: Problems): void {
  problems.warning('spec', 'EnvoyFilter depends on internals that may change with any version', 'prefer another API')
  if (spec.workloadSelector && spec.targetRefs?.length)
    problems.error('spec', 'only one of workloadSelector and targetRefs can be set')
  if (spec.workloadSelector?.labels) checkLabels(spec.workloadSelector.labels, 'spec.workloadSelector.labels', problems)
  spec.configPatches?.forEach((one, i) => {
    const path = `spec.configPatches[${i}]`
    const { applyTo = 'INVALID', match, patch } = one
    if (match && (match.context === 'WAYPOINT') !== (match.waypoint !== undefined))
      problems.error(`${path}.match`, 'a waypoint match and context WAYPOINT belong together')
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
    if (match?.proxy?.proxyVersion !== undefined)
      checkRegex(match.proxy.proxyVersion, `${path}.match.proxy.proxyVersion`, problems)
    if (LISTENER_KINDS.has(applyTo) && (match?.routeConfiguration || match?.cluster)) {
      problems.error(`${path}.match`, `applyTo ${applyTo} can match only a listener`)
    }
    if (ROUTE_KINDS.has(applyTo) && (match?.listener || match?.cluster)) {
      problems.error(`${path}.match`, `applyTo ${applyTo} can match only a routeConfiguration`)
    }
    if (applyTo === 'CLUSTER' && (match?.listener || match?.routeConfiguration)) {
      problems.error(`${path}.match`, 'applyTo CLUSTER can match only a cluster')
    }
    if (LISTENER_KINDS.has(applyTo)) checkFilterMatch(one, path, problems)
  })
}

const MANAGERS = ['envoy.filters.network.http_connection_manager', 'envoy.http_connection_manager']

/** A filter is matched by name; one of its own by the name of the connection manager and its own. */
function checkFilterMatch({ applyTo, match }: EnvoyConfigObjectPatch, path: string, problems: Problems): void {
  const filter = match?.listener?.filterChain?.filter
  if (!filter) return
  const at = `${path}.match.listener.filterChain.filter`
  if (applyTo === 'LISTENER' || applyTo === 'FILTER_CHAIN')
    problems.warning(at, `filter match has no effect when used with ${applyTo}`)
  if (!filter.name) problems.error(`${at}.name`, 'filter match has no name to match on')
  else if (filter.subFilter) {
    if (applyTo !== 'HTTP_FILTER')
      problems.error(`${at}.subFilter`, 'subfilter match can be used with applyTo HTTP_FILTER only')
    else if (!MANAGERS.includes(filter.name))
      problems.error(`${at}.name`, `subfilter match requires filter match with ${MANAGERS[0]}`)
    else if (!filter.subFilter.name) problems.error(`${at}.subFilter.name`, 'subfilter match has no name to match on')
  }
}

const SCHEMES = new Set(['', 'http', 'https', 'file', 'oci'])

export function validateWasmPlugin({ spec }: WasmPlugin, problems: Problems): void {
  checkTargets(spec, problems)
  checkTrafficSelectors(spec.match, problems)
  validateModule(spec, 'spec', problems)
}

export function validateTrafficExtension({ spec }: TrafficExtension, problems: Problems): void {
  checkTargets(spec, problems)
  checkTrafficSelectors(spec.match, problems)
  if (!spec.wasm && !spec.lua) problems.error('spec', 'one of wasm and lua is required')
  if (spec.wasm) validateModule(spec.wasm, 'spec.wasm', problems)
}

function checkTrafficSelectors(selectors: TrafficSelectors | undefined, problems: Problems): void {
  selectors?.forEach(({ ports = [] }, i) => {
    ports.forEach(({ number }, j) => {
      if (ports.findIndex((port) => port.number === number) < j)
        problems.error(`spec.match[${i}].ports[${j}]`, `port ${number} stands here twice`)
    })
  })
}

function validateModule(spec: WasmConfig, at: string, problems: Problems): void {
  if (/\s/.test(spec.url)) problems.error(`${at}.url`, `"${spec.url}" is not a URL`)
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
