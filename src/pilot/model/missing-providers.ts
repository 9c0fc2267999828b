// Extension providers in use whose service the registry does not know: nothing is sent to them.
import { providerHost } from './provider-service.ts'
import type { PushContext } from './push-context.ts'

/** istiod's names of what looks a provider's service up, by the provider's field in MeshConfig. */
const TYPES = {
  envoyTcpAls: 'envoyTCPAls',
  envoyHttpAls: 'envoyHTTPAls',
  envoyOtelAls: 'envoyOtelAls',
  zipkin: 'zipkin',
  datadog: 'datadog',
  skywalking: 'skywalking',
  opentelemetry: 'opentelemetry',
  envoyExtAuthzHttp: 'authz',
  envoyExtAuthzGrpc: 'authz',
} as const

type Mesh = Pick<PushContext, 'mesh' | 'services' | 'telemetries' | 'authorizationPolicies'>

/** The type of each such provider, once for each provider. */
export function missingProviders(push: Mesh): string[] {
  const used = usedProviders(push)
  return push.mesh.extensionProviders.flatMap((provider) => {
    if (!used.has(provider.name)) return []
    return Object.entries(TYPES).flatMap(([field, type]) => {
      const service = (provider[field as keyof typeof TYPES] as { readonly service?: string } | undefined)?.service
      return service === undefined || providerHost(push, service) !== null ? [] : [type]
    })
  })
}

/** Names that the mesh's defaults, Telemetries and AuthorizationPolicies use. */
function usedProviders({ mesh, telemetries, authorizationPolicies }: Mesh): ReadonlySet<string> {
  const { tracing = [], accessLogging = [] } = mesh.defaultProviders
  const names = new Set([...tracing, ...accessLogging])
  for (const { spec } of telemetries) {
    for (const { providers } of [...(spec.tracing ?? []), ...(spec.accessLogging ?? [])]) {
      for (const { name } of providers ?? []) names.add(name)
    }
  }
  for (const { spec } of authorizationPolicies) if (spec.provider?.name) names.add(spec.provider.name)
  return names
}
