// What `precheck` says of a place for a mesh, beside what every analysis does.

import { alphaAnnotationAnalyzer } from './analyzers/annotations.ts'
import { AnalysisContext, type AnalysisItem, type AnalysisMessage, type AnalysisOptions } from './context.ts'
import { analyze } from './index.ts'
import { InsufficientPermissions, UpdateIncompatibility } from './messages.ts'

/** Something that cannot be made here, and why. */
export function missingPermission(resource: string, reason: string): AnalysisMessage {
  const { code, level, text } = InsufficientPermissions
  return { code, level, message: text(resource, reason), origin: 'Cluster', namespace: '', reference: '' }
}

/** Uses of what may still change: annotations of the alpha phase. */
export function alphaUses(items: readonly AnalysisItem[], options: AnalysisOptions): AnalysisMessage[] {
  return analyze(items, options, [alphaAnnotationAnalyzer])
}

/** The last minor release in which spans went to this Service unless told otherwise. */
const DEFAULT_TRACER_MINOR = 21
const DEFAULT_TRACER = { name: 'zipkin', namespace: 'istio-system' }

/** What works otherwise than in Istio 1.`minor`. */
export function changedSince(
  minor: number,
  items: readonly AnalysisItem[],
  options: AnalysisOptions,
): AnalysisMessage[] {
  const context = new AnalysisContext(items, options)
  if (minor > DEFAULT_TRACER_MINOR) return []
  for (const service of context.all('Service')) {
    if (service.name !== DEFAULT_TRACER.name || service.namespace !== DEFAULT_TRACER.namespace) continue
    const change =
      "tracing is no longer by default enabled to send to 'zipkin.istio-system.svc'; follow https://istio.io/latest/docs/tasks/observability/distributed-tracing/telemetry-api/"
    const release = `1.${DEFAULT_TRACER_MINOR}`
    context.report(UpdateIncompatibility, service, '', 'meshConfig.defaultConfig.tracer', release, change, release)
  }
  return context.messages
}
