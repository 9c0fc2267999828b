// Names of Istio resources, as dependency sets, cache keys and Envoy metadata write them.
import type { Resource } from '../../config/index.ts'

/** `Kind/namespace/name`. */
export function resourceKey(resource: Pick<Resource, 'kind' | 'metadata'>): string {
  return `${resource.kind}/${resource.metadata.namespace}/${resource.metadata.name}`
}

/** `/apis/networking.istio.io/v1/namespaces/ns/virtual-service/name`: Istio's metadata of what a resource came from. */
export function resourcePath(resource: Pick<Resource, 'kind' | 'apiVersion' | 'metadata'>): string {
  const { namespace, name } = resource.metadata
  const kebab = resource.kind.replace(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase()
  return `/apis/${resource.apiVersion}/namespaces/${namespace}/${kebab}/${name}`
}
