// What is accepted but has no effect yet: named in the log and on apply, never dropped in silence.
import type { Problem } from '../base/errors.ts'
import type { AnyResource, IstioKind, MeshConfig, ServerTls } from '../config/index.ts'
import { unenforcedAuthentication, unenforcedPolicy } from './authorization/unenforced.ts'
import { compileEnvoyFilter } from './envoy-filter/compile.ts'

const NOT_OURS = 'Envoy runs the extension, proxies of Outrigger leave it out'

/** As in istiod; nobody should find out by looking at the wire. */
const SIDECARS_HAVE_NONE =
  'is for gateways: sidecars send plain text to this host (a rule with a workloadSelector gives them credentials too)'
const LEFT_OUT = 'Envoy runs it, proxies of Outrigger leave it out'

/** Whole kinds that nothing is generated from yet, with what that means. */
const KINDS: Partial<Record<IstioKind, string>> = {
  TrafficExtension: NOT_OURS,
  WasmPlugin: NOT_OURS,
}

/** A field without effect: where it stands, when it is set. */
interface Field {
  readonly path: string
  readonly set: boolean
  /** What setting it means, where that is not "nothing at all". */
  readonly message?: string
}

/**
 * Every part of a resource that is not translated yet, as warnings; errors for patches that cannot be read as what they
 * patch.
 */
export function untranslated(resource: AnyResource): Problem[] {
  const whole = KINDS[resource.kind]
  if (resource.kind === 'EnvoyFilter') return [...compileEnvoyFilter(resource).problems]
  if (whole) return [{ path: '', message: whole, level: 'warning' }]
  if (resource.kind === 'AuthorizationPolicy') return unenforcedPolicy(resource)
  if (resource.kind === 'RequestAuthentication') return unenforcedAuthentication(resource)
  return warnings(fieldsOf(resource))
}

function fieldsOf(resource: AnyResource): Field[] {
  switch (resource.kind) {
    case 'DestinationRule': {
      const { spec } = resource
      const levels = [
        { path: 'spec.trafficPolicy', policy: spec.trafficPolicy },
        ...(spec.subsets ?? []).map((s, i) => ({ path: `spec.subsets[${i}].trafficPolicy`, policy: s.trafficPolicy })),
      ]
      const selecting = spec.workloadSelector !== undefined
      return levels.flatMap(({ path, policy }) => [
        {
          path: `${path}.retryBudget.budgetInterval`,
          set: policy?.retryBudget?.budgetInterval !== undefined,
          message: 'Envoy keeps to it, proxies of Outrigger count the requests of the moment',
        },
        {
          path: `${path}.outlierDetection.outlierDetectionHttpErrorCodes`,
          set: (policy?.outlierDetection?.outlierDetectionHttpErrorCodes?.length ?? 0) > 0,
          message: 'has no effect, as with istiod',
        },
        ...[
          { at: `${path}.tls`, tls: policy?.tls },
          ...(policy?.portLevelSettings ?? []).map(({ tls }, i) => ({
            at: `${path}.portLevelSettings[${i}].tls`,
            tls,
          })),
        ].map(({ at, tls }) => ({
          path: `${at}.credentialName`,
          set: !selecting && Boolean(tls?.credentialName) && !tls!.credentialName!.startsWith('configmap://'),
          message: SIDECARS_HAVE_NONE,
        })),
      ])
    }
    case 'Gateway':
      return (resource.spec.servers ?? []).flatMap(({ tls }, i) => uncheckedClients(tls, `spec.servers[${i}].tls`))
    case 'ProxyConfig':
      return [
        { path: 'spec.image', set: resource.spec.image !== undefined, message: 'has no effect: there is one image' },
      ]
    default:
      return []
  }
}

/** What is asked of client certificates where clients are asked for none: as in istiod, it holds nobody up. */
function uncheckedClients(tls: ServerTls | undefined, path: string): Field[] {
  const { mode = 'PASSTHROUGH' } = tls ?? {}
  if (mode === 'MUTUAL' || mode === 'OPTIONAL_MUTUAL' || mode === 'ISTIO_MUTUAL') return []
  const checks = ['subjectAltNames', 'verifyCertificateSpki', 'verifyCertificateHash', 'caCrl'] as const
  return checks.map((name) => ({
    path: `${path}.${name}`,
    set: (tls?.[name]?.length ?? 0) > 0,
    message: `is not checked: in mode ${mode} clients show no certificate here (use MUTUAL)`,
  }))
}

function warnings(fields: readonly Field[]): Problem[] {
  return fields
    .filter((field) => field.set)
    .map(({ path, message = 'is not translated yet and has no effect' }) => ({ path, message, level: 'warning' }))
}

/** Providers that istiod has no part of any more: what names them goes nowhere. */
const GONE = ['lightstep', 'opencensus', 'stackdriver'] as const

/** What of ProxyConfig asks for a template of Go's, or for hardware; our agent refuses it. */
const REFUSED_BY_AGENT = ['proxyBootstrapTemplatePath', 'privateKeyProvider'] as const

/** Tracers that Envoy has no more; our agent refuses them. */
const GONE_TRACERS = ['lightstep', 'stackdriver', 'openCensusAgent'] as const

/** What Istio's bootstrap pushes stats with that our proxy has not. */
const SINKS = ['envoyMetricsService', 'envoyMetricsServiceAddress'] as const

const REFUSED = 'is refused by our agent: pods that are injected with it do not start'

/** Every part of MeshConfig that is set and has no effect, or not all of it, as warnings. */
export function untranslatedMesh(mesh: MeshConfig): Problem[] {
  const used = new Set(Object.values(mesh.defaultProviders).flat())
  const gone = mesh.extensionProviders.filter(
    (provider) => used.has(provider.name) && GONE.some((kind) => provider[kind] !== undefined),
  )
  const fields: Field[] = [
    ...(mesh.configSources ?? []).map(({ address = '' }, i) => ({
      path: `configSources[${i}].address`,
      set: !address.startsWith('k8s:'),
      message: address.startsWith('fs:')
        ? 'is followed by `outrigger pilot` only, from its start on'
        : 'is not followed: put its resources into a folder (fs://) or the API server',
    })),
    ...REFUSED_BY_AGENT.map((name) => ({
      path: `defaultConfig.${name}`,
      set: mesh.defaultConfig[name] !== undefined,
      message: REFUSED,
    })),
    ...GONE_TRACERS.map((name) => ({
      path: `defaultConfig.tracing.${name}`,
      set: mesh.defaultConfig.tracing?.[name] !== undefined,
      message: REFUSED,
    })),
    ...SINKS.map((name) => ({
      path: `defaultConfig.${name}`,
      set: Boolean(mesh.defaultConfig[name]),
      message: 'Envoy pushes its stats there, proxies of Outrigger are scraped',
    })),
    {
      path: 'defaultConfig.tracing.datadog',
      set: mesh.defaultConfig.tracing?.datadog !== undefined,
      message: LEFT_OUT,
    },
    ...mesh.extensionProviders.flatMap(({ name, opentelemetry }) => [
      {
        path: `extensionProviders ${name} opentelemetry.resourceDetectors.dynatrace`,
        set: opentelemetry?.resourceDetectors?.dynatrace !== undefined,
        message: LEFT_OUT,
      },
      {
        path: `extensionProviders ${name} opentelemetry.dynatraceSampler`,
        set: opentelemetry?.dynatraceSampler !== undefined,
        message: LEFT_OUT,
      },
    ]),
    ...gone.map(({ name }) => ({
      path: `defaultProviders ${name}`,
      set: true,
      message: 'has no effect: Istio supports this kind of provider no longer',
    })),
  ]
  return warnings(fields)
}
