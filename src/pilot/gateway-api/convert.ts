// Gateway API objects as Istio's own Gateways and VirtualServices: past here nobody knows the difference.
import type { AnyResource, GatewayApiResource, RouteDestination, VirtualService } from '../../config/index.ts'
import { MESH_GATEWAY } from '../model/virtual-service.ts'
import { backendDestination } from './backends.ts'
import { type AttachableListener, convertGateways } from './gateways.ts'
import { compareRoutes, convertGrpcRoute, convertHttpRoute, type RankedRoute } from './http-routes.ts'
import { GatewayApiIndex, type GatewayApiInputs } from './inputs.ts'
import { PARENTS, ROUTE_SEMANTICS } from './names.ts'
import { type Attachment, attachments } from './parents.ts'

/** Pure: all objects in, everything they mean out. */
export function convertGatewayApi(inputs: GatewayApiInputs): AnyResource[] {
  const index = new GatewayApiIndex(inputs)
  const { gateways, listeners } = convertGateways(index)
  return [...gateways, ...httpVirtualServices(index, listeners, inputs), ...l4VirtualServices(index, listeners, inputs)]
}

/** All HTTP routes of one host at one place. */
interface Group {
  readonly attachment: Attachment
  readonly host: string
  readonly routes: RankedRoute[]
  readonly sources: GatewayApiResource[]
}

function httpVirtualServices(
  index: GatewayApiIndex,
  listeners: readonly AttachableListener[],
  inputs: GatewayApiInputs,
): VirtualService[] {
  const groups = new Map<string, Group>()
  const add = (resource: GatewayApiResource<'HTTPRoute' | 'GRPCRoute'>, routes: readonly RankedRoute[]): void => {
    for (const attachment of attachments(resource, listeners, inputs)) {
      for (const host of attachment.hosts) {
        // In the mesh the routes of one namespace belong together: a consumer's are for itself only.
        const scope = attachment.gateway === MESH_GATEWAY ? resource.metadata.namespace : ''
        const key = `${attachment.gateway}|${scope}|${host}`
        let group = groups.get(key)
        if (!group) groups.set(key, (group = { attachment, host, routes: [], sources: [] }))
        group.sources.push(resource)
        group.routes.push(...(attachment.port === 0 ? routes : routes.map((one) => onPort(one, attachment.port))))
      }
    }
  }
  for (const resource of index.lists.HTTPRoute) add(resource, convertHttpRoute(resource, index))
  for (const resource of index.lists.GRPCRoute) add(resource, convertGrpcRoute(resource, index))
  return [...groups.values()].map((group, i) => ({
    ...virtualService(group.sources, group.attachment, [group.host], i),
    spec: {
      ...visibility(group.attachment),
      hosts: [group.host],
      gateways: [group.attachment.gateway],
      http: group.routes.sort(compareRoutes).map(({ route }) => route),
    },
  }))
}

function onPort(ranked: RankedRoute, port: number): RankedRoute {
  const { route } = ranked
  const match = route.match?.length ? route.match.map((one) => ({ ...one, port })) : [{ port }]
  return { ...ranked, route: { ...route, match } }
}

function l4VirtualServices(
  index: GatewayApiIndex,
  listeners: readonly AttachableListener[],
  inputs: GatewayApiInputs,
): VirtualService[] {
  const out: VirtualService[] = []
  for (const resource of [...index.lists.TCPRoute, ...index.lists.TLSRoute]) {
    const from = { kind: resource.kind, namespace: resource.metadata.namespace }
    for (const attachment of attachments(resource, listeners, inputs)) {
      const { hosts } = attachment
      const routes = (resource.spec.rules ?? []).map((rule) => destinations(rule.backendRefs ?? [], from, index))
      const live = routes.filter((route) => route.length > 0)
      if (live.length === 0) continue
      const l4 =
        resource.kind === 'TLSRoute'
          ? { tls: live.map((route) => ({ match: [{ sniHosts: hosts }], route })) }
          : {
              tcp: live.map((route) => ({ route, ...(attachment.port ? { match: [{ port: attachment.port }] } : {}) })),
            }
      out.push({
        ...virtualService([resource], attachment, hosts, out.length),
        spec: { ...visibility(attachment), hosts, gateways: [attachment.gateway], ...l4 },
      })
    }
  }
  return out
}

function destinations(
  backends: readonly { readonly weight?: number; readonly name: string }[],
  from: { readonly kind: string; readonly namespace: string },
  index: GatewayApiIndex,
): RouteDestination[] {
  const list: RouteDestination[] = []
  for (const backend of backends) {
    const destination = backendDestination(backend, from, index)
    const weight = backend.weight ?? 1
    if (destination && weight > 0) list.push({ destination, ...(backends.length > 1 ? { weight } : {}) })
  }
  return list
}

/** A consumer's routes are seen in its own namespace only. */
function visibility(attachment: Attachment): { exportTo?: readonly string[] } {
  return attachment.private ? { exportTo: ['.'] } : {}
}

/** Everything of a translated VirtualService but its spec. */
function virtualService(
  sources: readonly GatewayApiResource[],
  { gateway }: Attachment,
  hosts: readonly string[],
  index: number,
): Omit<VirtualService, 'spec'> {
  const [first] = sources as [GatewayApiResource]
  const kind = gateway === MESH_GATEWAY ? 'mesh' : 'k8s-gateway'
  const parents = new Set(sources.map(({ kind: k, metadata }) => `${k}/${metadata.name}.${metadata.namespace}`))
  return {
    kind: 'VirtualService',
    apiVersion: 'networking.istio.io/v1',
    metadata: {
      ...first.metadata,
      name: `${first.metadata.name}-${index}-istio-autogenerated-${kind}`,
      labels: {},
      annotations: { [ROUTE_SEMANTICS]: 'gateway', [PARENTS]: [...parents].join(',') },
    },
    origin: first.origin,
    warnings: hosts.length === 0 ? [{ path: 'spec', message: 'attaches to nothing', level: 'warning' }] : [],
  }
}
