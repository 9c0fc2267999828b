// The service behind an extension provider of MeshConfig.
import type { PushContext } from './push-context.ts'

/** `[namespace/]host` of a service in the registry; null when there is none. */
export function providerHost(push: Pick<PushContext, 'services'>, service: string): string | null {
  const slash = service.indexOf('/')
  const host = service.slice(slash + 1)
  const found = push.services.byHost.get(host)
  const namespace = slash < 0 ? null : service.slice(0, slash)
  return found?.some((s) => namespace === null || s.attributes.namespace === namespace) ? host : null
}
