// Names of stats from the mesh's templates: alt_stat_name of clusters, stat_prefix of TCP filters.
import type { Service } from '../model/service.ts'

/** Who a template speaks of: a service, or a name of its own. */
type Subject = Service | { readonly hostname: string }

/** The parts a template may name. */
export interface StatNameParts {
  /** What there is without a template. */
  readonly name: string
  readonly subject: Subject
  readonly port: number
  readonly portName: string
  readonly subset?: string
  /** 0 where it has no meaning, as for what leaves; null: `%TARGET_PORT%` stays as it is. */
  readonly targetPort: number | null
}

/** Fills Istio's template (`%SERVICE%`, `%SERVICE_FQDN%`, …); without a template the cluster's own name. */
export function statName(template: string, parts: StatNameParts): string {
  if (!template) return parts.name
  const { subject, port, portName, subset = '', targetPort } = parts
  const { hostname } = subject
  const kubernetes = 'attributes' in subject && subject.attributes.registry === 'Kubernetes' ? subject.attributes : null
  // A Kubernetes service of the mesh's own domain is known by its short name.
  const filled = template
    .replaceAll('%SERVICE%', kubernetes ? `${kubernetes.name}.${kubernetes.namespace}` : hostname)
    .replaceAll('%SERVICE_NAME%', kubernetes ? kubernetes.name : hostname)
    .replaceAll('%SERVICE_FQDN%', hostname)
    .replaceAll('%SERVICE_PORT%', String(port))
    .replaceAll('%SERVICE_PORT_NAME%', portName)
    .replaceAll('%SUBSET_NAME%', subset)
  // A name must not be empty: Envoy refuses the listener. Ports that no service has have no name, for example.
  return (targetPort === null ? filled : filled.replaceAll('%TARGET_PORT%', String(targetPort))) || parts.name
}
