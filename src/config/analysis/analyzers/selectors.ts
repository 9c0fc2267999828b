// Sidecars and Telemetries that select the same workloads, or none.

import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { list, record, selectorText, selects } from '../fields.ts'
import {
  ConflictingSidecarWorkloadSelectors,
  ConflictingTelemetryWorkloadSelectors,
  IneffectivePolicy,
  InvalidTelemetryProvider,
  type MessageType,
  MultipleSidecarsWithoutWorkloadSelectors,
  MultipleTelemetriesWithoutWorkloadSelectors,
  ReferencedResourceNotFound,
} from '../messages.ts'

interface SelectorRules {
  readonly kind: string
  readonly group: 'networking' | 'telemetry'
  /** Labels of the selector; undefined = the whole namespace. */
  labels(entry: Entry): unknown
  readonly path: string
  readonly conflict: MessageType
  readonly multiple: MessageType
}

const SIDECAR: SelectorRules = {
  kind: 'Sidecar',
  group: 'networking',
  labels: (entry) => record(entry.spec.workloadSelector).labels,
  path: 'spec.workloadSelector.labels',
  conflict: ConflictingSidecarWorkloadSelectors,
  multiple: MultipleSidecarsWithoutWorkloadSelectors,
}

const TELEMETRY: SelectorRules = {
  kind: 'Telemetry',
  group: 'telemetry',
  labels: (entry) => record(entry.spec.selector).matchLabels,
  path: 'spec.selector.matchLabels',
  conflict: ConflictingTelemetryWorkloadSelectors,
  multiple: MultipleTelemetriesWithoutWorkloadSelectors,
}

function checkSelectors(context: AnalysisContext, rules: SelectorRules): void {
  const byPod = new Map<Entry, Entry[]>()
  for (const entry of context.istio(rules.kind, rules.group)) {
    const labels = rules.labels(entry)
    if (labels === undefined || isAmbientSidecar(context, rules, entry)) continue
    const pods = context.all('Pod').filter((pod) => pod.namespace === entry.namespace && selects(labels, pod.labels))
    if (pods.length === 0)
      context.report(ReferencedResourceNotFound, entry, rules.path, 'selector', selectorText(labels))
    for (const pod of pods) byPod.set(pod, [...(byPod.get(pod) ?? []), entry])
  }
  const reported = new Set<Entry>()
  for (const [pod, entries] of byPod) {
    if (entries.length < 2) continue
    const names = entries.map((entry) => entry.name).sort()
    for (const entry of entries) {
      if (reported.has(entry)) continue
      reported.add(entry)
      context.report(rules.conflict, entry, rules.path, names, entry.namespace, pod.name)
    }
  }
}

function isAmbientSidecar(context: AnalysisContext, rules: SelectorRules, entry: Entry): boolean {
  return rules.kind === 'Sidecar' && ambientNamespaces(context).has(entry.namespace)
}

function checkDefaults(context: AnalysisContext, rules: SelectorRules): void {
  const byNamespace = new Map<string, Entry[]>()
  for (const entry of context.istio(rules.kind, rules.group)) {
    if (rules.labels(entry) !== undefined || isAmbientSidecar(context, rules, entry)) continue
    byNamespace.set(entry.namespace, [...(byNamespace.get(entry.namespace) ?? []), entry])
  }
  for (const [namespace, entries] of byNamespace) {
    if (entries.length < 2) continue
    const names = entries.map((entry) => entry.name).sort()
    for (const entry of entries) context.report(rules.multiple, entry, 'metadata.name', names, namespace)
  }
}

export const sidecarSelectorAnalyzer: Analyzer = {
  name: 'sidecar.SelectorAnalyzer',
  description:
    'Validates that sidecars that define a workload selector match at least one pod, and that there are no conflicts',
  run: (context) => checkSelectors(context, SIDECAR),
}

/** Namespaces whose pods have no sidecar because ztunnel carries their traffic. */
function ambientNamespaces(context: AnalysisContext): ReadonlySet<string> {
  const ambient = context
    .all('Namespace')
    .filter(({ labels }) => labels['istio.io/dataplane-mode'] === 'ambient')
    .filter(({ labels }) => labels['istio-injection'] !== 'enabled' && labels['istio.io/rev'] === undefined)
  return new Set(ambient.map((namespace) => namespace.name))
}

export const sidecarAmbientAnalyzer: Analyzer = {
  name: 'sidecar.SelectorAnalyzer',
  description: 'Finds sidecars for workloads that have none',
  run(context) {
    const ambient = ambientNamespaces(context)
    for (const sidecar of context.istio('Sidecar', 'networking')) {
      if (!ambient.has(sidecar.namespace)) continue
      const scope = sidecar.spec.workloadSelector === undefined ? 'namespace' : 'selected workload'
      context.report(
        IneffectivePolicy,
        sidecar,
        'metadata.name',
        `${scope} is in ambient mode, the policy has no impact`,
      )
    }
  },
}

export const sidecarDefaultAnalyzer: Analyzer = {
  name: 'sidecar.SelectorAnalyzer',
  description: 'Validates that there is at most one default sidecar in a namespace',
  run: (context) => checkDefaults(context, SIDECAR),
}

export const telemetrySelectorAnalyzer: Analyzer = {
  name: 'telemetry.SelectorAnalyzer',
  description:
    'Validates that telemetries that define a selector match at least one pod, and that there are no conflicts',
  run: (context) => checkSelectors(context, TELEMETRY),
}

export const telemetryDefaultAnalyzer: Analyzer = {
  name: 'telemetry.DefaultSelectorAnalyzer',
  description: 'Validates that there is at most one default telemetry in a namespace',
  run: (context) => checkDefaults(context, TELEMETRY),
}

export const telemetryProviderAnalyzer: Analyzer = {
  name: 'telemetry.ProviderAnalyzer',
  description: 'Validates that providers in telemetry resource are valid',
  run(context) {
    for (const entry of context.istio('Telemetry', 'telemetry')) {
      for (const [i, logging] of list(entry.spec.accessLogging).entries()) {
        if (list(logging.providers).length > 0) continue
        context.report(InvalidTelemetryProvider, entry, `spec.accessLogging[${i}]`, entry.name, entry.namespace)
      }
    }
  },
}
