// What translation of the Gateway API reads, indexed.
import type {
  AnyGatewayApiResource,
  GatewayApiKind,
  GatewayApiLabelSelector,
  GatewayApiResource,
} from '../../config/index.ts'

export interface GatewayApiInputs {
  readonly resources: Iterable<AnyGatewayApiResource>
  /** Namespace to its labels. */
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>
  readonly domain: string
  /** A service of that host is in the registry. */
  readonly serviceExists: (host: string) => boolean
}

/** The controller that a GatewayClass must name for us to act on its Gateways. */
const CONTROLLER = 'istio.io/gateway-controller'
/** Classes that exist without a GatewayClass object. */
const BUILT_IN_CLASSES = new Set(['istio'])

type Lists = { readonly [K in GatewayApiKind]: GatewayApiResource<K>[] }

/** Inputs sorted by kind, each list oldest first. */
export class GatewayApiIndex {
  readonly lists: Lists
  readonly domain: string
  private readonly namespaces: GatewayApiInputs['namespaces']
  private readonly classes: ReadonlySet<string>

  constructor(inputs: GatewayApiInputs) {
    const lists = {
      GatewayClass: [],
      Gateway: [],
      HTTPRoute: [],
      GRPCRoute: [],
      TCPRoute: [],
      TLSRoute: [],
      ReferenceGrant: [],
    } as Record<GatewayApiKind, GatewayApiResource[]>
    for (const resource of inputs.resources) lists[resource.kind].push(resource)
    for (const list of Object.values(lists)) list.sort(byAge)
    this.lists = lists as Lists
    this.domain = inputs.domain
    this.namespaces = inputs.namespaces
    const classes = new Set(BUILT_IN_CLASSES)
    for (const { metadata, spec } of this.lists.GatewayClass) {
      if (spec.controllerName === CONTROLLER) classes.add(metadata.name)
      else classes.delete(metadata.name)
    }
    this.classes = classes
  }

  /** Gateways that are ours. */
  gateways(): readonly GatewayApiResource<'Gateway'>[] {
    return this.lists.Gateway.filter((gateway) => this.classes.has(gateway.spec.gatewayClassName))
  }

  /** Namespaces that `selector` selects. */
  selectNamespaces(selector: GatewayApiLabelSelector): string[] {
    return [...this.namespaces].filter(([, labels]) => selects(selector, labels)).map(([name]) => name)
  }

  /** Whether objects of `from` may name `to`: always in one namespace, elsewhere by ReferenceGrant. */
  mayRefer(
    from: { readonly group: string; readonly kind: string; readonly namespace: string },
    to: { readonly group: string; readonly kind: string; readonly namespace: string; readonly name: string },
  ): boolean {
    if (from.namespace === to.namespace) return true
    return this.lists.ReferenceGrant.some(
      ({ metadata, spec }) =>
        metadata.namespace === to.namespace &&
        spec.from.some((f) => f.group === from.group && f.kind === from.kind && f.namespace === from.namespace) &&
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
