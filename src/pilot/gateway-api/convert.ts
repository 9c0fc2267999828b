// Gateway API objects as Istio's own Gateways, VirtualServices and DestinationRules: past here nobody knows the
// difference. With them comes what the objects' statuses should say.
import {
  type AnyResource,
  type GatewayApiResource,
  gatewayApiGroupKind,
  type RouteDestination,
  type VirtualService,
} from '../../config/index.ts'
import { compareText, hostMatches } from '../model/host.ts'
import { MESH_GATEWAY } from '../model/virtual-service.ts'
import type { Condition, ObjectStatus, ReferenceStatus } from '../status.ts'
import { convertBackendPolicies } from './backend-policies.ts'
import { backendDestination, NOWHERE, type RouteContext } from './backends.ts'
import type { RefProblem } from './certificates.ts'
import { convertGateways, parametersProblem } from './gateways.ts'
import { compareRoutes, convertHttpLikeRoute, type HttpLikeRoute, type RankedRoute } from './http-routes.ts'
import { controllerRole, GatewayApiIndex, type GatewayApiInputs } from './inputs.ts'
import type { AttachableListener } from './listeners.ts'
import { CONTROLLER, GENERATED, PARENTS, ROUTE_SEMANTICS } from './names.ts'
import { type Attachment, listenersByOwner, type Parent, parentsOf, type Route, referenceText } from './parents.ts'
import { type GatewayWorkload, gatewayWorkload, type Parameters } from './workload.ts'

export interface GatewayApiTranslation {
  readonly resources: readonly AnyResource[]
  readonly statuses: readonly ObjectStatus[]
  /** What Gateways without Services of their own are to be given. */
  readonly workloads: readonly GatewayWorkload[]
  /** Names of ConfigMaps whose authorities every client may read. */
  readonly publicAuthorities: ReadonlySet<string>
  /** `Kind/namespace/name` of the Secrets and ConfigMaps it was made from. */
  readonly usedCredentials: ReadonlySet<string>
  /** Keys of the services whose endpoints it was made from. */
  readonly usedEndpoints: ReadonlySet<string>
}

/** Pure: all objects in, everything they mean out. */
export function convertGatewayApi(inputs: GatewayApiInputs): GatewayApiTranslation {
  const index = new GatewayApiIndex(inputs)
  const { gateways, listeners, managed, statuses } = convertGateways(index)
  const policies = convertBackendPolicies(index)
  const routes = new RouteConversion(index, listenersByOwner(listeners))
  for (const route of [...index.lists.HTTPRoute, ...index.lists.GRPCRoute]) routes.addHttpLike(route)
  for (const route of [...index.lists.TCPRoute, ...index.lists.TLSRoute]) routes.addL4(route)
  const workloads = new Map(
    managed.map(({ gateway, listeners: own }) => [
      gateway,
      gatewayWorkload({
        gateway,
        uid: inputs.uid(gateway),
        listeners: own,
        parameters: parametersOf(gateway, index),
        parametersProblem: parametersProblem(gateway, index),
      }),
    ]),
  )
  return {
    resources: [...gateways, ...routes.virtualServices(), ...policies.rules],
    statuses: [
      ...index.lists.GatewayClass.flatMap(classStatus),
      ...statuses({
        attachedRoutes: (listener) => routes.attached.get(listener) ?? 0,
        parameterProblems: (gateway) => workloads.get(gateway)?.problems ?? [],
      }),
      ...routes.statuses,
      ...policies.statuses,
    ],
    workloads: [...workloads.values()],
    publicAuthorities: policies.publicAuthorities,
    usedCredentials: index.usedCredentials,
    usedEndpoints: index.usedEndpoints,
  }
}

/** The defaults of its class, then the Gateway's own, which lie over them. */
function parametersOf({ metadata, spec }: GatewayApiResource<'Gateway'>, index: GatewayApiIndex): Parameters[] {
  const { name, kind } = spec.infrastructure?.parametersRef ?? {}
  const own = name === undefined || kind !== 'ConfigMap' ? undefined : index.credential(kind, metadata.namespace, name)
  return [index.classDefaults(spec.gatewayClassName), own].flatMap((object) =>
    object?.data ? [object.data as Parameters] : [],
  )
}

function classStatus({ metadata, spec }: GatewayApiResource<'GatewayClass'>): ObjectStatus[] {
  const role = controllerRole(spec.controllerName)
  if (!role) return []
  const condition: Condition =
    role === 'waypoint'
      ? {
          type: 'Accepted',
          status: 'False',
          reason: 'Unsupported',
          message: 'the class belongs to the ambient mode, which is not built',
        }
      : { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'Handled by Istio controller' }
  const kind = gatewayApiGroupKind('GatewayClass')
  return [{ kind, name: metadata.name, status: { shape: 'gateway', conditions: [condition] } }]
}

/** All HTTP routes of one host at one place. */
interface Group {
  readonly name: string
  readonly attachment: Attachment
  readonly host: string
  readonly routes: RankedRoute[]
  readonly sources: Route[]
}

/** Collects what routes mean, route by route. */
class RouteConversion {
  readonly statuses: ObjectStatus[] = []
  /** Routes attached to each listener. */
  readonly attached = new Map<AttachableListener, number>()
  private readonly index: GatewayApiIndex
  private readonly listeners: ReturnType<typeof listenersByOwner>
  private readonly groups = new Map<string, Group>()
  private readonly l4: VirtualService[] = []

  constructor(index: GatewayApiIndex, listeners: ReturnType<typeof listenersByOwner>) {
    this.index = index
    this.listeners = listeners
  }

  addHttpLike(route: HttpLikeRoute): void {
    this.add(
      route,
      (context) => convertHttpLikeRoute(route, context),
      (attachment, routes) => {
        for (const host of attachment.hosts) this.join(route, attachment, host, routes)
      },
    )
  }

  addL4(route: GatewayApiResource<'TCPRoute'> | GatewayApiResource<'TLSRoute'>): void {
    let count = 0
    this.add(
      route,
      (context) => (route.spec.rules ?? []).map((rule) => l4Destinations(rule.backendRefs ?? [], context)),
      (attachment, routes) => {
        const { hosts, port } = attachment
        if (routes.length === 0 || hosts.length === 0) return
        const match = port ? { port } : {}
        const protocol = route.kind === 'TLSRoute' ? 'tls' : 'tcp'
        const tcp = routes.map((to) => ({ route: to, ...(port ? { match: [match] } : {}) }))
        for (const host of hosts) {
          const sniHosts = serverNames(route, attachment, host)
          // As in istiod, a rule that leads nowhere matches nothing: at a gateway connections are closed all the same.
          const tls = routes.map((to) => ({
            match: to[0]?.destination === NOWHERE ? [] : [{ sniHosts, ...match }],
            route: to,
          }))
          const name = `${route.metadata.name}~${protocol}~${count++}~${GENERATED}`
          this.l4.push({
            ...virtualService([route], name),
            spec: {
              ...visibility(attachment),
              hosts: [host],
              gateways: [attachment.gateway],
              ...(route.kind === 'TLSRoute' ? { tls } : { tcp }),
            },
          })
        }
      },
    )
  }

  virtualServices(): VirtualService[] {
    const http = [...this.groups.values()].map((group) => ({
      ...virtualService(group.sources, group.name),
      spec: {
        hosts: [group.host],
        gateways: [group.attachment.gateway],
        http: group.routes.sort(compareRoutes).map(({ route }) => route),
      },
    }))
    return [...http, ...this.l4]
  }

  /** Converts a route's rules as Gateways and as the mesh see them, places them, and notes its status. */
  private add<R>(route: Route, convert: (context: RouteContext) => R, place: (at: Attachment, rules: R) => void): void {
    const own = route.metadata.namespace
    const parents = parentsOf(route, this.listeners, this.index).sort((a, b) =>
      compareText(referenceText(a.reference, own), referenceText(b.reference, own)),
    )
    const byView = new Map<boolean, { readonly rules: R; readonly problems: readonly RefProblem[] }>()
    for (const { mesh } of parents) {
      if (byView.has(mesh)) continue
      const problems: RefProblem[] = []
      const rules = convert({ route, mesh, index: this.index, problem: (problem) => problems.push(problem) })
      byView.set(mesh, { rules, problems })
    }
    const places = parents.flatMap(({ mesh, attachments }) => attachments.map((at) => ({ mesh, at })))
    // In istiod's order, which counts where what is made of them is numbered.
    places.sort((a, b) => compareText(a.at.gateway, b.at.gateway))
    const counted = new Set<AttachableListener>()
    for (const { mesh, at } of places) {
      if (at.listener && !counted.has(at.listener)) {
        counted.add(at.listener)
        this.attached.set(at.listener, (this.attached.get(at.listener) ?? 0) + 1)
      }
      place(at, byView.get(mesh)!.rules)
    }
    this.statuses.push({
      kind: gatewayApiGroupKind(route.kind),
      namespace: route.metadata.namespace,
      name: route.metadata.name,
      status: {
        shape: 'references',
        list: 'parents',
        entries: parents.toReversed().map((parent) => parentStatus(parent, byView.get(parent.mesh)!.problems)),
      },
    })
  }

  private join(route: HttpLikeRoute, attachment: Attachment, host: string, routes: readonly RankedRoute[]): void {
    // In the mesh the routes of one namespace belong together: a consumer's are for itself only.
    const { gateway, port } = attachment
    const place = gateway === MESH_GATEWAY ? route.metadata.namespace : gateway.replace('/', '~')
    const key = `${gateway === MESH_GATEWAY}|${place}|${host}`
    let group = this.groups.get(key)
    if (!group) {
      const name = `${place}~${port === 0 ? '' : `${port}~`}${host}`
      this.groups.set(key, (group = { name, attachment, host, routes: [], sources: [] }))
    }
    group.sources.push(route)
    group.routes.push(...(attachment.port === 0 ? routes : routes.map((one) => onPort(one, attachment.port))))
  }
}

/** Of several rules with a problem the last is told, as in Istio. */
function parentStatus({ reference, accepted }: Parent, problems: readonly RefProblem[]): ReferenceStatus {
  const last = problems.at(-1)
  const resolved: Condition = last
    ? { type: 'ResolvedRefs', status: 'False', ...last }
    : { type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs', message: 'All references resolved' }
  return { reference: { ...reference }, controllerName: CONTROLLER, conditions: [accepted, resolved] }
}

function onPort(ranked: RankedRoute, port: number): RankedRoute {
  const { route } = ranked
  const match = route.match?.length ? route.match.map((one) => ({ ...one, port })) : [{ port }]
  return { ...ranked, route: { ...route, match } }
}

function l4Destinations(
  backends: readonly { readonly weight?: number; readonly name: string; readonly port?: number }[],
  context: RouteContext,
): RouteDestination[] {
  const live = backends.filter(({ weight = 1 }) => weight > 0)
  if (live.length === 0) return [{ destination: NOWHERE }]
  return live.map((backend) => ({
    destination: backendDestination(backend, context),
    ...(live.length > 1 ? { weight: backend.weight ?? 1 } : {}),
  }))
}

/** In the mesh a TLSRoute's own names matter; without any, those of its parent. Of several, those that fit the host. */
function serverNames(route: Route, { gateway, hosts }: Attachment, host: string): readonly string[] {
  if (gateway !== MESH_GATEWAY) return hosts
  const own = 'hostnames' in route.spec ? (route.spec.hostnames ?? []) : []
  const names = own.length > 0 ? own : hosts
  return names.length > 1 ? names.filter((name) => hostMatches(host, name)) : names
}

/**
 * A consumer's routes of TCP and TLS are seen in its own namespace only; those of HTTP speak for its clients alone when
 * tables are made, but keep wildcards of VirtualServices off their hosts everywhere, as in istiod.
 */
function visibility(attachment: Attachment): { exportTo?: readonly string[] } {
  return attachment.private ? { exportTo: ['.'] } : {}
}

/** Everything of a translated VirtualService but its spec. */
function virtualService(sources: readonly Route[], name: string): Omit<VirtualService, 'spec'> {
  const [first] = sources as [Route]
  const parents = new Set(sources.map(({ kind, metadata }) => `${kind}/${metadata.name}.${metadata.namespace}`))
  return {
    kind: 'VirtualService',
    apiVersion: 'networking.istio.io/v1',
    metadata: {
      ...first.metadata,
      name,
      labels: {},
      annotations: { [ROUTE_SEMANTICS]: 'gateway', [PARENTS]: [...parents].join(',') },
    },
    origin: first.origin,
    warnings: [],
  }
}
