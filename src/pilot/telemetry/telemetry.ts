// Effective telemetry of one workload: Telemetry resources of root namespace, namespace and workload over MeshConfig.
import type { AccessLogging, ExtensionProvider, MeshConfig, Metrics, Telemetry, Tracing } from '../../config/index.ts'
import { labelsMatch } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'

/** Which side of a connection a setting is for. */
export type TelemetryMode = 'CLIENT' | 'SERVER'

/** One access log to write. */
export interface EffectiveAccessLog {
  readonly provider: ExtensionProvider
  /** CEL expression, empty for every request. */
  readonly filter: string
}

/** Settings for one side. Null access logs: no Telemetry says anything, MeshConfig decides. */
export interface SideTelemetry {
  readonly accessLogs: readonly EffectiveAccessLog[] | null
  /** Null: no metrics provider, no `istio.stats`. */
  readonly metrics: EffectiveMetrics | null
  readonly tracing: Tracing & { readonly disabled: boolean; readonly provider: ExtensionProvider | null }
}

export interface EffectiveMetrics {
  readonly overrides: readonly NonNullable<Metrics['overrides']>[number][]
  /** Milliseconds, undefined for the filter's default. */
  readonly reportingInterval: number | undefined
}

export interface WorkloadTelemetry {
  readonly client: SideTelemetry
  readonly server: SideTelemetry
}

const memo = new WeakMap<PushContext['telemetries'], Map<string, WorkloadTelemetry>>()
const meshIds = new WeakMap<MeshConfig, number>()
let lastMeshId = 0

/** The telemetry of `proxy`; equal inputs share one result. */
export function effectiveTelemetry(push: PushContext, proxy: ProxyNode): WorkloadTelemetry {
  let byScope = memo.get(push.telemetries)
  if (!byScope) memo.set(push.telemetries, (byScope = new Map()))
  let meshId = meshIds.get(push.mesh)
  if (meshId === undefined) meshIds.set(push.mesh, (meshId = ++lastMeshId))
  const levels = applicable(push, proxy)
  const key = `${meshId}|${levels.map((t) => `${t.metadata.namespace}/${t.metadata.name}`).join()}`
  let found = byScope.get(key)
  if (!found) {
    found = { client: side(push.mesh, levels, 'CLIENT'), server: side(push.mesh, levels, 'SERVER') }
    byScope.set(key, found)
  }
  return found
}

/** The Telemetry resources that apply, least specific first; the oldest of each level. */
function applicable(push: PushContext, proxy: ProxyNode): Telemetry[] {
  const root = push.mesh.rootNamespace
  const first = (fits: (t: Telemetry) => boolean): Telemetry | undefined => push.telemetries.find(fits)
  const selects = (t: Telemetry): boolean => Object.keys(t.spec.selector?.matchLabels ?? {}).length > 0
  const attached = (t: Telemetry): boolean => t.spec.targetRef !== undefined || (t.spec.targetRefs?.length ?? 0) > 0
  const found = [
    first((t) => t.metadata.namespace === root && !selects(t) && !attached(t)),
    proxy.namespace === root
      ? undefined
      : first((t) => t.metadata.namespace === proxy.namespace && !selects(t) && !attached(t)),
    first(
      (t) =>
        t.metadata.namespace === proxy.namespace &&
        !attached(t) &&
        selects(t) &&
        labelsMatch(t.spec.selector?.matchLabels, proxy.labels),
    ),
  ]
  return found.filter((t) => t !== undefined)
}

function applies(mode: string | undefined, side: TelemetryMode): boolean {
  return mode === undefined || mode === 'CLIENT_AND_SERVER' || mode === side
}

function side(mesh: MeshConfig, levels: readonly Telemetry[], mode: TelemetryMode): SideTelemetry {
  return {
    accessLogs: accessLogs(mesh, levels, mode),
    metrics: metrics(mesh, levels, mode),
    tracing: tracing(mesh, levels, mode),
  }
}

function providerOf(mesh: MeshConfig, name: string): ExtensionProvider | null {
  return mesh.extensionProviders.find((p) => p.name === name) ?? null
}

function accessLogs(
  mesh: MeshConfig,
  levels: readonly Telemetry[],
  mode: TelemetryMode,
): readonly EffectiveAccessLog[] | null {
  const defaults = mesh.defaultProviders.accessLogging ?? []
  const said = levels.filter((t) => t.spec.accessLogging)
  if (said.length === 0 && defaults.length === 0) return null
  // The more specific level's block replaces the less specific one's; a provider left out is inherited.
  let providers: readonly string[] = defaults
  let entries: readonly AccessLogging[] = []
  for (const telemetry of said) {
    entries = telemetry.spec.accessLogging!.filter((entry) => applies(entry.match?.mode, mode))
    const named = entries.flatMap((entry) => entry.providers?.map((p) => p.name) ?? [])
    if (named.length > 0) providers = named
  }
  const logs: EffectiveAccessLog[] = []
  for (const name of [...new Set(providers)].sort()) {
    const provider = providerOf(mesh, name)
    if (!provider) continue
    const entry = entries.findLast((e) => !e.providers?.length || e.providers.some((p) => p.name === name))
    if (entry?.disabled) continue
    logs.push({ provider, filter: entry?.filter?.expression ?? '' })
  }
  return logs
}

function metrics(mesh: MeshConfig, levels: readonly Telemetry[], mode: TelemetryMode): EffectiveMetrics | null {
  let providers: readonly string[] = mesh.defaultProviders.metrics ?? []
  const overrides: EffectiveMetrics['overrides'][number][] = []
  let reportingInterval: number | undefined
  for (const telemetry of levels) {
    for (const entry of telemetry.spec.metrics ?? []) {
      if (entry.providers?.length) providers = entry.providers.map((p) => p.name)
      if (entry.reportingInterval !== undefined) reportingInterval = entry.reportingInterval
      for (const override of entry.overrides ?? []) if (applies(override.match?.mode, mode)) overrides.push(override)
    }
  }
  if (!providers.some((name) => providerOf(mesh, name)?.prometheus)) return null
  return { overrides, reportingInterval }
}

function tracing(mesh: MeshConfig, levels: readonly Telemetry[], mode: TelemetryMode): SideTelemetry['tracing'] {
  let merged: Tracing = {}
  for (const telemetry of levels) {
    for (const entry of telemetry.spec.tracing ?? []) {
      if (applies(entry.match?.mode, mode)) merged = { ...merged, ...entry }
    }
  }
  const name = merged.providers?.[0]?.name ?? mesh.defaultProviders.tracing?.[0]
  const provider = name === undefined ? null : providerOf(mesh, name)
  const said = name !== undefined || levels.some((t) => t.spec.tracing)
  const disabled = merged.disableSpanReporting === true || (!mesh.enableTracing && !said)
  // ProxyConfig is asked only where nobody says anything about tracing.
  const enableIstioTags = merged.enableIstioTags ?? (said ? true : undefined)
  return { ...merged, provider, disabled, enableIstioTags }
}
