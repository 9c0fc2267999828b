// Effective telemetry of one workload: Telemetry resources of root namespace, namespace and workload over MeshConfig.
import type { ExtensionProvider, MeshConfig, Metrics, Telemetry, Tracing } from '../../config/index.ts'
import { attaches } from '../authorization/select.ts'
import { compareText } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { ALL_METRICS } from './metric-names.ts'

/** Which side of a connection a setting is for. */
export type TelemetryMode = 'CLIENT' | 'SERVER'

/** One access log that Telemetry has a word on. */
export interface EffectiveAccessLog {
  readonly provider: ExtensionProvider
  /** CEL expression, empty for every request. */
  readonly filter: string
  readonly disabled: boolean
}

/** Settings for one side. Null access logs: no Telemetry says anything, MeshConfig decides. */
export interface SideTelemetry {
  readonly accessLogs: readonly EffectiveAccessLog[] | null
  /** Null: no metrics provider, no `istio.stats`. */
  readonly metrics: EffectiveMetrics | null
  readonly tracing: Tracing & { readonly disabled: boolean; readonly provider: ExtensionProvider | null }
}

/** What is changed about one metric. */
export interface MetricOverride {
  /** One of Istio's, or a custom metric's name. */
  readonly metric: string
  readonly disabled: boolean
  readonly tagOverrides: NonNullable<NonNullable<Metrics['overrides']>[number]['tagOverrides']>
}

export interface EffectiveMetrics {
  /** One a metric, by its name. */
  readonly overrides: readonly MetricOverride[]
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

/** The Telemetry resources that apply, least specific first: the oldest of root namespace and namespace, all that select. */
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
    ...push.telemetries.filter(
      (t) => t.metadata.namespace === proxy.namespace && (selects(t) || attached(t)) && attaches(t, proxy),
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
  const said = levels.flatMap(({ spec }) => (spec.accessLogging?.length ? [spec.accessLogging] : []))
  if (said.length === 0 && defaults.length === 0) return null
  // The providers of the most specific level that names any count; the others' are left out.
  let inScope: readonly string[] = defaults
  const filters = new Map<string, string>()
  for (const entries of said) {
    const own = entries.filter((entry) => applies(entry.match?.mode, mode))
    const names = own.flatMap(namesOf)
    for (const entry of own) for (const name of namesOf(entry)) filters.set(name, entry.filter?.expression ?? '')
    if (names.length > 0) inScope = names
  }
  const enabled = new Map<string, boolean>(said.length === 0 ? defaults.map((name) => [name, true]) : [])
  let parent: readonly string[] = defaults
  for (const entry of said.flat()) {
    // An entry without providers is about those of the entry before it.
    parent = entry.providers?.length ? namesOf(entry) : parent
    if (!applies(entry.match?.mode, mode)) continue
    for (const name of parent) if (inScope.includes(name)) enabled.set(name, !entry.disabled)
  }
  return [...enabled.keys()].sort().flatMap((name) => {
    const provider = providerOf(mesh, name)
    return provider ? [{ provider, filter: filters.get(name) ?? '', disabled: !enabled.get(name) }] : []
  })
}

function namesOf({ providers }: { readonly providers?: readonly { readonly name: string }[] }): string[] {
  return providers?.map(({ name }) => name) ?? []
}

function metrics(mesh: MeshConfig, levels: readonly Telemetry[], mode: TelemetryMode): EffectiveMetrics | null {
  const entries = levels.flatMap(({ spec }) => spec.metrics ?? [])
  let inScope: readonly string[] = mesh.defaultProviders.metrics ?? []
  for (const entry of entries) if (entry.providers?.length) inScope = namesOf(entry)
  const name = [...inScope].sort().find((provider) => providerOf(mesh, provider)?.prometheus)
  if (name === undefined) return null
  const overrides = new Map<string, MetricOverride>()
  let reportingInterval: number | undefined
  let disabled = false
  let parent: readonly string[] = mesh.defaultProviders.metrics ?? []
  for (const entry of entries) {
    parent = entry.providers?.length ? namesOf(entry) : parent
    if (!parent.includes(name)) continue
    reportingInterval = entry.reportingInterval ?? reportingInterval
    for (const override of entry.overrides ?? []) {
      if (!applies(override.match?.mode, mode)) continue
      const all =
        override.match?.customMetric === undefined && (override.match?.metric ?? 'ALL_METRICS') === 'ALL_METRICS'
      // Without any metric left there is no filter; a later override brings it back.
      disabled = all && override.disabled === true
      if (disabled) continue
      for (const metric of all ? ALL_METRICS : [override.match!.customMetric ?? override.match!.metric!]) {
        const before = overrides.get(metric)
        overrides.set(metric, {
          metric,
          disabled: override.disabled ?? before?.disabled ?? false,
          tagOverrides: { ...before?.tagOverrides, ...override.tagOverrides },
        })
      }
    }
  }
  if (disabled) return null
  return { overrides: [...overrides.values()].sort((a, b) => compareText(a.metric, b.metric)), reportingInterval }
}

function tracing(mesh: MeshConfig, levels: readonly Telemetry[], mode: TelemetryMode): SideTelemetry['tracing'] {
  const configured = levels.some(({ spec }) => spec.tracing?.length)
  const byDefault = mesh.defaultProviders.tracing?.[0]
  if (!configured && byDefault === undefined) return { provider: null, disabled: !mesh.enableTracing }
  let merged: Tracing = {}
  for (const telemetry of levels) {
    for (const entry of telemetry.spec.tracing ?? []) {
      if (!applies(entry.match?.mode, mode)) continue
      const providers = entry.providers?.length ? entry.providers : merged.providers
      merged = { ...merged, ...entry, providers }
    }
  }
  const name = merged.providers?.[0]?.name ?? byDefault
  const provider = name === undefined ? null : providerOf(mesh, name)
  // ProxyConfig is asked only where nobody says anything about tracing.
  const enableIstioTags = merged.enableIstioTags ?? true
  const disabled = provider === null || merged.disableSpanReporting === true
  return { ...merged, provider, disabled, enableIstioTags }
}
