// What translation of the Gateway API reads, indexed.
import type { KubeObject } from '../../cluster/index.ts'
import type {
  AnyGatewayApiResource,
  GatewayApiKind,
  GatewayApiLabelSelector,
  GatewayApiResource,
  NamespaceChoice,
} from '../../config/index.ts'
import { GATEWAY_API_GROUP, GATEWAY_API_KINDS } from '../../config/index.ts'
import { type EndpointSet, type Service, serviceKey } from '../model/service.ts'
import type { RegistrySnapshot } from '../registry/snapshot.ts'

export type CredentialKind = 'Secret' | 'ConfigMap'

export interface GatewayApiInputs {
  readonly resources: Iterable<AnyGatewayApiResource>
  /** Namespace to its labels. */
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>
  readonly domain: string
  readonly registry: Pick<RegistrySnapshot, 'services' | 'endpoints'>
  /** `metadata.uid` of an object: what is made for it refers to it by that. */
  readonly uid: (resource: AnyGatewayApiResource) => string
  readonly credential: (kind: CredentialKind, namespace: string, name: string) => KubeObject | undefined
  /** The oldest ConfigMap of the root namespace that has defaults for a class of Gateways. */
  readonly classDefaults: (gatewayClass: string) => KubeObject | undefined
}

/** What a class of Gateways is to us. */
export type ClassRole =
  /** Translated, and given a Deployment. */
  | 'managed'
  /** In another cluster: nothing is made of it here. */
  | 'remote'
  /** Of Istio's ambient mode, which is not built. */
  | 'waypoint'

/** Controllers that Istio's classes name. */
const ROLES: Readonly<Record<string, ClassRole>> = {
  'istio.io/gateway-controller': 'managed',
  'istio.io/unmanaged-gateway': 'remote',
  'istio.io/mesh-controller': 'waypoint',
  'istio.io/eastwest-controller': 'waypoint',
}
/** Classes that exist without a GatewayClass object. */
const BUILT_IN_CLASSES: Readonly<Record<string, ClassRole>> = {
  istio: 'managed',
  'istio-remote': 'remote',
  'istio-waypoint': 'waypoint',
  'istio-east-west': 'waypoint',
}

/** The role of a GatewayClass by the controller it names; undefined: somebody else's. */
export function controllerRole(controllerName: string): ClassRole | undefined {
  return ROLES[controllerName]
}

type Lists = { readonly [K in GatewayApiKind]: GatewayApiResource<K>[] }

/** Kinds that a ReferenceGrant can open. */
const GRANTABLE: ReadonlySet<string> = new Set(['ConfigMap', 'Secret', 'Service'])

/** What an object refers from or to; `group` empty for Kubernetes' own. */
interface Reference {
  readonly group: string
  readonly kind: string
  readonly namespace: string
}

/** Inputs sorted by kind, each list oldest first. Notes what was asked of credentials and endpoints. */
export class GatewayApiIndex {
  readonly lists: Lists
  readonly domain: string
  /** Keys `Kind/namespace/name` of the credentials whose change asks for another translation. */
  readonly usedCredentials = new Set<string>()
  /** Keys of the services whose endpoints do. */
  readonly usedEndpoints = new Set<string>()
  private readonly inputs: GatewayApiInputs
  private readonly roles: ReadonlyMap<string, ClassRole>
  private readonly entries: ReadonlyMap<string, readonly Service[]>

  constructor(inputs: GatewayApiInputs) {
    const lists = Object.fromEntries(GATEWAY_API_KINDS.map((kind) => [kind, [] as GatewayApiResource[]])) as Record<
      GatewayApiKind,
      GatewayApiResource[]
    >
    for (const resource of inputs.resources) lists[resource.kind].push(resource)
    for (const list of Object.values(lists)) list.sort(byAge)
    this.lists = lists as Lists
    this.domain = inputs.domain
    this.inputs = inputs
    const roles = new Map(Object.entries(BUILT_IN_CLASSES))
    for (const { metadata, spec } of this.lists.GatewayClass) {
      const role = controllerRole(spec.controllerName)
      if (role) roles.set(metadata.name, role)
      else roles.delete(metadata.name)
    }
    this.roles = roles
    this.entries = Map.groupBy(
      inputs.registry.services.all.filter(({ attributes }) => attributes.registry === 'External'),
      ({ attributes }) => `${attributes.namespace}/${attributes.resourceName}`,
    )
  }

  /** Undefined: the Gateway is somebody else's. */
  roleOf(gateway: GatewayApiResource<'Gateway'>): ClassRole | undefined {
    return this.roles.get(gateway.spec.gatewayClassName)
  }

  /** The service of `host` that `namespace` defines. */
  service(host: string, namespace: string): Service | undefined {
    return this.inputs.registry.services.byKey.get(serviceKey(host, namespace))
  }

  /** The Kubernetes Service of a host: what is named by its kind, a ServiceEntry of the same host is not. */
  kubeService(host: string, namespace: string): Service | undefined {
    return this.servicesOf(host).find(
      ({ attributes }) => attributes.registry === 'Kubernetes' && attributes.namespace === namespace,
    )
  }

  /** Every service of `host`, whoever defines it. */
  servicesOf(host: string): readonly Service[] {
    return this.inputs.registry.services.byHost.get(host) ?? []
  }

  /** The services that a ServiceEntry defines. */
  servicesOfEntry(namespace: string, name: string): readonly Service[] {
    return this.entries.get(`${namespace}/${name}`) ?? []
  }

  endpoints(service: Service): EndpointSet | undefined {
    const key = serviceKey(service.hostname, service.attributes.namespace)
    this.usedEndpoints.add(key)
    return this.inputs.registry.endpoints.get(key)
  }

  credential(kind: CredentialKind, namespace: string, name: string): KubeObject | undefined {
    this.usedCredentials.add(`${kind}/${namespace}/${name}`)
    return this.inputs.credential(kind, namespace, name)
  }

  /** What all Gateways of a class are given, object by object. */
  classDefaults(gatewayClass: string): KubeObject | undefined {
    return this.inputs.classDefaults(gatewayClass)
  }

  /** Namespaces that `choice` means, seen from `own`; null: all. */
  chosenNamespaces(
    { from, selector }: NamespaceChoice,
    own: string,
    otherwise: NonNullable<NamespaceChoice['from']>,
  ): ReadonlySet<string> | null {
    switch (from ?? otherwise) {
      case 'All':
        return null
      case 'Selector':
        return new Set(selector ? this.selectNamespaces(selector) : [])
      case 'Same':
        return new Set([own])
      case 'None':
        return new Set()
    }
  }

  private selectNamespaces(selector: GatewayApiLabelSelector): string[] {
    return [...this.inputs.namespaces]
      .filter(([name, labels]) => selects(selector, { ...labels, 'kubernetes.io/metadata.name': name }))
      .map(([name]) => name)
      .sort()
  }

  /** Whether an object of the Gateway API may name `to`: always in one namespace, elsewhere by ReferenceGrant. */
  mayRefer(
    from: { readonly kind: string; readonly namespace: string },
    to: Reference & { readonly name: string },
  ): boolean {
    if (from.namespace === to.namespace) return true
    if (!GRANTABLE.has(to.kind)) return false
    return this.lists.ReferenceGrant.some(
      ({ metadata, spec }) =>
        metadata.namespace === to.namespace &&
        spec.from.some(
          (f) => f.group === GATEWAY_API_GROUP && f.kind === from.kind && f.namespace === from.namespace,
        ) &&
        spec.to.some((t) => t.group === to.group && t.kind === to.kind && (!t.name || t.name === to.name)),
    )
  }
}

function selects(selector: GatewayApiLabelSelector, labels: Readonly<Record<string, string>>): boolean {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) if (labels[key] !== value) return false
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key]
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value)
      case 'NotIn':
        return value === undefined || !values.includes(value)
      case 'Exists':
        return value !== undefined
      default:
        return value === undefined
    }
  })
}

function byAge(a: GatewayApiResource, b: GatewayApiResource): number {
  const left = `${a.metadata.namespace}/${a.metadata.name}`
  const right = `${b.metadata.namespace}/${b.metadata.name}`
  return a.metadata.creationMs - b.metadata.creationMs || (left < right ? -1 : left > right ? 1 : 0)
}
