// Bootstrap.overload_manager → plain data (envoy-contract §21).

import { anyUnpack } from '@bufbuild/protobuf/wkt'
import {
  type LoadShedPoint,
  type OverloadAction,
  OverloadActionSchema,
  type OverloadManager,
  OverloadManagerSchema,
  type ResourceMonitor,
  type Trigger,
} from '../../../api/gen/envoy/config/overload/v3/overload_pb.js'
import { DownstreamConnectionsConfigSchema } from '../../../api/gen/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.js'
import { FixedHeapConfigSchema } from '../../../api/gen/envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap_pb.js'
import { InjectedResourceConfigSchema } from '../../../api/gen/envoy/extensions/resource_monitors/injected_resource/v3/injected_resource_pb.js'
import { typeNameOf } from '../../../api/registry.ts'
import { ConfigError } from '../../../base/errors.ts'
import { durationMsOr } from '../../config/duration.ts'
import { refuseUnsupported } from '../../config/supported-fields.ts'
import { OVERLOAD_SLOTS } from '../../network/overload-state.ts'

export type MonitorConfig =
  | { readonly kind: 'fixed_heap'; readonly name: string; readonly maxBytes: number }
  | { readonly kind: 'injected'; readonly name: string; readonly file: string }
  /** Acts at accept, not through actions. */
  | { readonly kind: 'downstream_connections'; readonly name: string; readonly max: number }

export interface TriggerConfig {
  readonly monitor: string
  /** Pressure at which the action begins to scale. */
  readonly scaling: number
  /** Pressure at which it is saturated. */
  readonly saturation: number
}

export interface OverloadActionConfig {
  readonly name: string
  readonly triggers: readonly TriggerConfig[]
}

/** A place where load is shed; its name is among OVERLOAD_SLOTS. */
export type LoadShedPointConfig = OverloadActionConfig

export interface OverloadConfig {
  readonly refreshMs: number
  readonly monitors: readonly MonitorConfig[]
  readonly actions: readonly OverloadActionConfig[]
  readonly loadShedPoints: readonly LoadShedPointConfig[]
}

export const SHRINK_HEAP = 'envoy.overload_actions.shrink_heap'
export const STOP_ACCEPTING = 'envoy.overload_actions.stop_accepting_connections'
const isPoint = (name: string): boolean => name.startsWith('envoy.load_shed_points.')
const POINTS: ReadonlySet<string> = new Set(Object.keys(OVERLOAD_SLOTS).filter(isPoint))
const ACTIONS: ReadonlySet<string> = new Set([
  ...Object.keys(OVERLOAD_SLOTS).filter((name) => !isPoint(name)),
  SHRINK_HEAP,
  STOP_ACCEPTING,
])
const DEFAULT_REFRESH_MS = 1000

/** Throws ConfigError for monitors and actions that this proxy lacks. */
export function parseOverloadManager(message: OverloadManager): OverloadConfig {
  const path = 'overload_manager'
  refuseUnsupported(
    OverloadManagerSchema,
    message,
    new Set(['refresh_interval', 'resource_monitors', 'actions', 'loadshed_points']),
    path,
  )
  const monitors = message.resourceMonitors.map((monitor, i) =>
    parseMonitor(monitor, `${path}.resource_monitors[${i}]`),
  )
  for (const [i, monitor] of monitors.entries()) {
    if (monitors.findIndex((other) => other.name === monitor.name) !== i)
      throw new ConfigError(`${path}.resource_monitors[${i}].name`, `Duplicate resource monitor ${monitor.name}`)
  }
  return {
    refreshMs: durationMsOr(message.refreshInterval, DEFAULT_REFRESH_MS),
    monitors,
    actions: message.actions.map((action, i) => parseAction(action, monitors, `${path}.actions[${i}]`)),
    loadShedPoints: message.loadshedPoints.map((point, i) =>
      parseLoadShedPoint(point, monitors, `${path}.loadshed_points[${i}]`),
    ),
  }
}

function parseMonitor(monitor: ResourceMonitor, path: string): MonitorConfig {
  const { name } = monitor
  const any = monitor.configType.case === 'typedConfig' ? monitor.configType.value : undefined
  switch (typeNameOf(any?.typeUrl ?? '')) {
    case FixedHeapConfigSchema.typeName: {
      const maxBytes = Number(anyUnpack(any!, FixedHeapConfigSchema)?.maxHeapSizeBytes ?? 0n)
      if (maxBytes <= 0) throw new ConfigError(`${path}.typed_config.max_heap_size_bytes`, 'must be greater than 0')
      return { kind: 'fixed_heap', name, maxBytes }
    }
    case InjectedResourceConfigSchema.typeName: {
      const file = anyUnpack(any!, InjectedResourceConfigSchema)?.filename ?? ''
      if (file === '') throw new ConfigError(`${path}.typed_config.filename`, 'must not be empty')
      return { kind: 'injected', name, file }
    }
    case DownstreamConnectionsConfigSchema.typeName: {
      const max = Number(anyUnpack(any!, DownstreamConnectionsConfigSchema)?.maxActiveDownstreamConnections ?? 0n)
      if (max <= 0)
        throw new ConfigError(`${path}.typed_config.max_active_downstream_connections`, 'must be greater than 0')
      return { kind: 'downstream_connections', name, max }
    }
    default:
      throw new ConfigError(
        `${path}.typed_config`,
        `no resource monitor "${name}" in this build; it has fixed_heap, injected_resource and downstream_connections`,
      )
  }
}

function parseAction(action: OverloadAction, monitors: readonly MonitorConfig[], path: string): OverloadActionConfig {
  refuseUnsupported(OverloadActionSchema, action, new Set(['name', 'triggers']), path)
  if (!ACTIONS.has(action.name)) {
    throw new ConfigError(
      `${path}.name`,
      `overload action "${action.name}" is not supported by this proxy; it has ${[...ACTIONS].join(', ')}`,
    )
  }
  return { name: action.name, triggers: parseTriggers(action, monitors, path, 'overload action') }
}

function parseLoadShedPoint(
  point: LoadShedPoint,
  monitors: readonly MonitorConfig[],
  path: string,
): LoadShedPointConfig {
  if (!POINTS.has(point.name)) {
    throw new ConfigError(
      `${path}.name`,
      `load shed point "${point.name}" is not supported by this proxy; it has ${[...POINTS].join(', ')}`,
    )
  }
  return { name: point.name, triggers: parseTriggers(point, monitors, path, 'loadshed point') }
}

function parseTriggers(
  { name, triggers }: OverloadAction | LoadShedPoint,
  monitors: readonly MonitorConfig[],
  path: string,
  what: string,
): TriggerConfig[] {
  return triggers.map((trigger, i) => {
    const at = `${path}.triggers[${i}]`
    const known = monitors.find((monitor) => monitor.name === trigger.name)
    if (known === undefined)
      throw new ConfigError(`${at}.name`, `Unknown trigger resource ${trigger.name} for ${what} ${name}`)
    if (known.kind === 'downstream_connections')
      throw new ConfigError(`${at}.name`, `${trigger.name} acts at accept and cannot trigger actions`)
    return parseTrigger(trigger, at)
  })
}

function parseTrigger(trigger: Trigger, path: string): TriggerConfig {
  const how = trigger.triggerOneof
  if (how.case === 'threshold') return { monitor: trigger.name, scaling: how.value.value, saturation: how.value.value }
  if (how.case !== 'scaled') throw new ConfigError(path, 'one of threshold, scaled is required')
  const { scalingThreshold: scaling, saturationThreshold: saturation } = how.value
  if (scaling >= saturation)
    throw new ConfigError(`${path}.scaled`, 'scaling_threshold must be less than saturation_threshold')
  return { monitor: trigger.name, scaling, saturation }
}
