// Analysis: checks over a whole set of objects, by istioctl's message codes.

import { caCertificateAnalyzer, podNotSelectedAnalyzer } from './analyzers/destination-rule.ts'
import { envoyPatchAnalyzer } from './analyzers/envoy-filter.ts'
import {
  conflictingGatewayAnalyzer,
  duplicateCertificateAnalyzer,
  ingressPortAnalyzer,
  secretAnalyzer,
} from './analyzers/gateway.ts'
import { deprecationAnalyzer, schemaAnalyzer } from './analyzers/schema.ts'
import { authorizationAnalyzer, gatewaySelectorAnalyzer } from './analyzers/security.ts'
import {
  sidecarDefaultAnalyzer,
  sidecarSelectorAnalyzer,
  telemetryDefaultAnalyzer,
  telemetryProviderAnalyzer,
  telemetrySelectorAnalyzer,
} from './analyzers/selectors.ts'
import { addressesAnalyzer, conflictingProtocolAnalyzer } from './analyzers/service-entry.ts'
import {
  conflictingMeshHostsAnalyzer,
  destinationHostAnalyzer,
  destinationRuleAnalyzer,
  gatewayAnalyzer,
  ingressRouteAnalyzer,
  jwtClaimAnalyzer,
} from './analyzers/virtual-service.ts'
import { matchesAnalyzer } from './analyzers/virtual-service-matches.ts'
import {
  applicationUidAnalyzer,
  injectionAnalyzer,
  portNameAnalyzer,
  serviceAssociationAnalyzer,
} from './analyzers/workloads.ts'
import {
  AnalysisContext,
  type AnalysisItem,
  type AnalysisMessage,
  type AnalysisOptions,
  type Analyzer,
} from './context.ts'

export type { AnalysisItem, AnalysisMessage, AnalysisOptions, Analyzer } from './context.ts'
export type { Level } from './messages.ts'

/** Every analyzer, by name. */
export const ANALYZERS: readonly Analyzer[] = [
  addressesAnalyzer,
  applicationUidAnalyzer,
  authorizationAnalyzer,
  caCertificateAnalyzer,
  conflictingGatewayAnalyzer,
  conflictingMeshHostsAnalyzer,
  conflictingProtocolAnalyzer,
  deprecationAnalyzer,
  destinationHostAnalyzer,
  destinationRuleAnalyzer,
  duplicateCertificateAnalyzer,
  envoyPatchAnalyzer,
  gatewayAnalyzer,
  gatewaySelectorAnalyzer,
  ingressPortAnalyzer,
  ingressRouteAnalyzer,
  injectionAnalyzer,
  jwtClaimAnalyzer,
  matchesAnalyzer,
  podNotSelectedAnalyzer,
  portNameAnalyzer,
  schemaAnalyzer,
  secretAnalyzer,
  serviceAssociationAnalyzer,
  sidecarDefaultAnalyzer,
  sidecarSelectorAnalyzer,
  telemetryDefaultAnalyzer,
  telemetryProviderAnalyzer,
  telemetrySelectorAnalyzer,
]

/** Runs the analyzers (all, or those named) over the objects; messages by level, code and origin. */
export function analyze(
  items: readonly AnalysisItem[],
  options: AnalysisOptions,
  analyzers: readonly Analyzer[] = ANALYZERS,
): AnalysisMessage[] {
  const context = new AnalysisContext(items, options)
  for (const analyzer of analyzers) analyzer.run(context)
  const severity = { Error: 0, Warning: 1, Info: 2 }
  return context.messages.sort(
    (a, b) =>
      severity[a.level] - severity[b.level] ||
      compare(a.code, b.code) ||
      compare(a.origin, b.origin) ||
      compare(a.message, b.message),
  )
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
