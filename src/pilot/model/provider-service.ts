// The service behind an extension provider of MeshConfig.
import type { PushContext } from './push-context.ts'

/** `[namespace/]host` of a service in the registry; null when there is none, or several of which none is named. */
export function providerHost(push: Pick<PushContext, 'services'>, service: string): string | null {
  const slash = service.indexOf('/')
  const host = service.slice(slash + 1)
  const namespaces = new Set(push.services.byHost.get(host)?.map(({ attributes }) => attributes.namespace))
  const known = slash < 0 ? namespaces.size === 1 : namespaces.has(service.slice(0, slash))
  return known ? host : null
}
