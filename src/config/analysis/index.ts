// Analysis: checks over a whole set of objects, by istioctl's message codes.

import { alphaAnnotationAnalyzer, annotationAnalyzer } from './analyzers/annotations.ts'
import { conditionAnalyzer } from './analyzers/conditions.ts'
import { caCertificateAnalyzer, podNotSelectedAnalyzer } from './analyzers/destination-rule.ts'
import { envoyPatchAnalyzer } from './analyzers/envoy-filter.ts'
import {
  conflictingGatewayAnalyzer,
  duplicateCertificateAnalyzer,
  ingressPortAnalyzer,
  secretAnalyzer,
} from './analyzers/gateway.ts'
import {
  crdVersionAnalyzer,
  externalControlPlaneAnalyzer,
  meshNetworksAnalyzer,
  webhookAnalyzer,
} from './analyzers/installation.ts'
import { injectionImageAnalyzer } from './analyzers/proxy-image.ts'
import { deprecationAnalyzer, schemaAnalyzers } from './analyzers/schema.ts'
import { authorizationAnalyzer, blockedCidrsAnalyzer, gatewaySelectorAnalyzer } from './analyzers/security.ts'
import {
  sidecarAmbientAnalyzer,
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
  imageAutoAnalyzer,
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
export { type Level, MESSAGE_CODES } from './messages.ts'

/** Every analyzer; several checks may bear one of istioctl's names. */
export const ANALYZERS: readonly Analyzer[] = [
  addressesAnalyzer,
  alphaAnnotationAnalyzer,
  annotationAnalyzer,
  applicationUidAnalyzer,
  authorizationAnalyzer,
  blockedCidrsAnalyzer,
  caCertificateAnalyzer,
  conditionAnalyzer,
  conflictingGatewayAnalyzer,
  conflictingMeshHostsAnalyzer,
  conflictingProtocolAnalyzer,
  crdVersionAnalyzer,
  deprecationAnalyzer,
  destinationHostAnalyzer,
  destinationRuleAnalyzer,
  duplicateCertificateAnalyzer,
  envoyPatchAnalyzer,
  externalControlPlaneAnalyzer,
  gatewayAnalyzer,
  gatewaySelectorAnalyzer,
  imageAutoAnalyzer,
  ingressPortAnalyzer,
  ingressRouteAnalyzer,
  injectionAnalyzer,
  injectionImageAnalyzer,
  jwtClaimAnalyzer,
  matchesAnalyzer,
  meshNetworksAnalyzer,
  podNotSelectedAnalyzer,
  portNameAnalyzer,
  ...schemaAnalyzers,
  secretAnalyzer,
  serviceAssociationAnalyzer,
  sidecarAmbientAnalyzer,
  sidecarDefaultAnalyzer,
  sidecarSelectorAnalyzer,
  telemetryDefaultAnalyzer,
  telemetryProviderAnalyzer,
  telemetrySelectorAnalyzer,
  webhookAnalyzer,
]

/** Those that run unless others are named: alpha annotations are what an installation itself writes, too. */
const DEFAULT_ANALYZERS: readonly Analyzer[] = ANALYZERS.filter((analyzer) => analyzer !== alphaAnnotationAnalyzer)

/** Runs the analyzers (all that run by default, or those named) over the objects; messages by level, code and origin. */
export function analyze(
  items: readonly AnalysisItem[],
  options: AnalysisOptions,
  analyzers: readonly Analyzer[] = DEFAULT_ANALYZERS,
): AnalysisMessage[] {
  const context = new AnalysisContext([...items, ...defaultResources(items, options)], options)
  for (const analyzer of analyzers) analyzer.run(context)
  const severity = { Error: 0, Warning: 1, Info: 2 }
  const sorted = context.messages.sort(
    (a, b) =>
      severity[a.level] - severity[b.level] ||
      compare(a.code, b.code) ||
      compare(a.origin, b.origin) ||
      compare(a.message, b.message),
  )
  const said = new Set<string>()
  return sorted.filter(({ code, origin, reference, message }) => {
    const key = JSON.stringify([code, origin, reference, message])
    return said.has(key) ? false : said.add(key)
  })
}

/** The ingress gateway that an installation has, unless the analysed set brings its own. */
function defaultResources(items: readonly AnalysisItem[], { istioNamespace }: AnalysisOptions): AnalysisItem[] {
  const labels = { app: 'istio-ingressgateway', istio: 'ingressgateway' }
  const has = (kind: string) =>
    items.some(({ object }) => object.kind === kind && object.metadata.labels?.istio === labels.istio)
  const ports = [
    ['status-port', 15021],
    ['http2', 80],
    ['http2-unprivileged', 8080],
    ['https', 443],
    ['https-unprivileged', 8443],
    ['tls', 15443],
  ] as const
  const metadata = { name: 'istio-ingressgateway', namespace: istioNamespace, labels }
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata,
    spec: { selector: labels, ports: ports.map(([name, port]) => ({ name, port })) },
  }
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [{ name: 'istio-proxy' }] } }
  const own = items.some(({ object }) => object.kind === 'Service' && object.metadata.name === metadata.name)
  return [...(own ? [] : [service]), ...(has('Pod') ? [] : [pod])].map((object) => ({
    object,
    hasNamespace: true,
    reference: () => '',
  }))
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
