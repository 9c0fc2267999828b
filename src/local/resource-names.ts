import { UserError } from '../base/errors.ts'
import { isNamespacedKind } from '../cluster/index.ts'
import { GATEWAY_API_KINDS, gatewayApiGroupKind, ISTIO_KINDS, istioGroupKind } from '../config/index.ts'

/** A kind as the command line names it. */
export interface ResourceType {
  /** Store key: `Deployment.apps`. */
  readonly kind: string
  /** `deployments`, as in `get deployments`. */
  readonly plural: string
  readonly names: readonly string[]
  readonly namespaced: boolean
}

const KUBERNETES: readonly (readonly [kind: string, plural: string, ...shortNames: string[]])[] = [
  ['Namespace', 'namespaces', 'ns'],
  ['Node', 'nodes', 'no'],
  ['Pod', 'pods', 'po'],
  ['Service', 'services', 'svc'],
  ['ServiceAccount', 'serviceaccounts', 'sa'],
  ['Deployment.apps', 'deployments', 'deploy'],
  ['ReplicaSet.apps', 'replicasets', 'rs'],
  ['EndpointSlice.discovery.k8s.io', 'endpointslices'],
  ['ConfigMap', 'configmaps', 'cm'],
  ['Secret', 'secrets'],
  ['Ingress.networking.k8s.io', 'ingresses', 'ing'],
]
/** Short names of the Gateway API's kinds. `gtw` is its Gateway: `gateway` and `gw` are Istio's. */
const GATEWAY_API_SHORT: Record<string, readonly string[]> = {
  GatewayClass: ['gc'],
  Gateway: ['gtw'],
  ListenerSet: ['lset'],
  ReferenceGrant: ['refgrant'],
  BackendTLSPolicy: ['btlspolicy'],
  XBackendTrafficPolicy: ['xbtrafficpolicy'],
}

/** kubectl's short names of Istio's kinds. */
const ISTIO_SHORT: Record<string, string> = {
  Gateway: 'gw',
  VirtualService: 'vs',
  DestinationRule: 'dr',
  ServiceEntry: 'se',
  WorkloadEntry: 'we',
  WorkloadGroup: 'wg',
  PeerAuthentication: 'pa',
  RequestAuthentication: 'ra',
  AuthorizationPolicy: 'ap',
  Telemetry: 'telemetry',
}

function plural(kind: string): string {
  const word = kind.toLowerCase()
  if (word.endsWith('s')) return `${word}es`
  return word.endsWith('y') ? (/[aeiou]y$/.test(word) ? `${word}s` : `${word.slice(0, -1)}ies`) : `${word}s`
}

function entry(kind: string, pluralName: string, short: readonly string[]): ResourceType {
  const [bare, ...group] = kind.split('.')
  const singular = bare!.toLowerCase()
  const suffix = group.length > 0 ? [`${pluralName}.${group.join('.')}`, `${singular}.${group.join('.')}`] : []
  return {
    kind,
    plural: pluralName,
    names: [singular, pluralName, ...short, ...suffix],
    namespaced: isNamespacedKind(bare!),
  }
}

const RESOURCE_TYPES: readonly ResourceType[] = [
  ...KUBERNETES.map(([kind, pluralName, ...short]) => entry(kind, pluralName, short)),
  ...ISTIO_KINDS.map((kind) =>
    entry(istioGroupKind(kind), plural(kind), ISTIO_SHORT[kind] ? [ISTIO_SHORT[kind]!] : []),
  ),
  ...GATEWAY_API_KINDS.map((kind) => entry(gatewayApiGroupKind(kind), plural(kind), GATEWAY_API_SHORT[kind] ?? [])),
  // A view of EndpointSlices, as one line for each Service.
  { kind: 'Endpoints', plural: 'endpoints', names: ['endpoints', 'ep'], namespaced: true },
]

/**
 * The type a word of the command line means. Throws UserError for an unknown one. Of several kinds of one name (Istio's
 * Gateway and the Gateway API's) the one that `inUse` is meant; when both are, the Gateway API's, as with kubectl.
 */
export function resourceType(word: string, inUse: (kind: string) => boolean = () => false): ResourceType {
  const lower = word.toLowerCase()
  const all = RESOURCE_TYPES.filter(({ names }) => names.includes(lower))
  const found = all.findLast(({ kind }) => inUse(kind)) ?? all[0]
  if (!found) {
    throw new UserError(
      `the server doesn't have a resource type "${word}"; known: ${RESOURCE_TYPES.map((t) => t.plural).join(', ')}`,
    )
  }
  return found
}
