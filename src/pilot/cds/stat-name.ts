// alt_stat_name of outbound and inbound clusters from the mesh's template.
import type { OutboundSpec } from './outbound.ts'

/** The parts a template may name. */
export type StatNameParts = Pick<OutboundSpec, 'name' | 'service' | 'port'> & {
  readonly subset: { readonly name: string } | null
}

/** Fills Istio's template (`%SERVICE%`, `%SERVICE_FQDN%`, …); without a template the cluster's own name. */
export function statName(template: string, parts: StatNameParts): string {
  if (!template) return parts.name
  const { service, port, subset } = parts
  const { name, namespace, registry } = service.attributes
  // A Kubernetes service of the mesh's own domain is known by its short name.
  const short = registry === 'Kubernetes' ? `${name}.${namespace}` : service.hostname
  return template
    .replaceAll('%SERVICE%', short)
    .replaceAll('%SERVICE_FQDN%', service.hostname)
    .replaceAll('%SERVICE_NAME%', name)
    .replaceAll('%SERVICE_PORT%', String(port.port))
    .replaceAll('%TARGET_PORT%', String(port.targetPort))
    .replaceAll('%SERVICE_PORT_NAME%', port.name)
    .replaceAll('%SUBSET_NAME%', subset?.name ?? '')
}
