// What is accepted but has no effect yet: named in the log and on apply, never dropped in silence.
import type { Problem } from '../base/errors.ts'
import type { AnyResource, IstioKind, MeshConfig } from '../config/index.ts'
import { unenforcedAuthentication, unenforcedPolicy } from './authorization/unenforced.ts'
import { compileEnvoyFilter } from './envoy-filter/compile.ts'

const NOT_OURS = 'Envoy runs the extension, proxies of Outrigger leave it out'

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
      return levels.flatMap(({ path, policy }) => [
        {
          path: `${path}.retryBudget.budgetInterval`,
          set: policy?.retryBudget?.budgetInterval !== undefined,
          message: 'Envoy keeps to it, proxies of Outrigger count the requests of the moment',
        },
        {
          path: `${path}.outlierDetection.outlierDetectionHttpErrorCodes`,
          set: (policy?.outlierDetection?.outlierDetectionHttpErrorCodes?.length ?? 0) > 0,
        },
      ])
    }
    case 'ProxyConfig':
      return [{ path: 'spec.image', set: resource.spec.image !== undefined }]
    default:
      return []
  }
}

function warnings(fields: readonly Field[]): Problem[] {
  return fields
    .filter((field) => field.set)
    .map(({ path, message = 'is not translated yet and has no effect' }) => ({ path, message, level: 'warning' }))
}

/** Settings of MeshConfig that change nothing here yet. */
const MESH_FIELDS = [
  'configSources',
  'hboneIdleTimeout',
  'serviceEntryVisibility',
  'serviceScopeConfigs',
  'verifyCertificateAtClient',
] as const satisfies readonly (keyof MeshConfig)[]

/** Kinds of extension providers that nothing is sent to: istiod has given them up, or knows their platform only. */
const PROVIDER_KINDS = ['lightstep', 'opencensus', 'stackdriver'] as const

/** Every part of MeshConfig that is set and not translated yet, as warnings. */
export function untranslatedMesh(mesh: MeshConfig): Problem[] {
  const used = new Set(Object.values(mesh.defaultProviders).flat())
  const providers = mesh.extensionProviders.filter(
    (provider) => used.has(provider.name) && PROVIDER_KINDS.some((kind) => provider[kind] !== undefined),
  )
  const fields: Field[] = [
    ...MESH_FIELDS.map((path) => ({ path, set: isSet(mesh[path]) })),
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
    ...providers.map((provider) => ({ path: `extensionProviders ${provider.name}`, set: true })),
  ]
  return warnings(fields)
}

function isSet(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false
}
