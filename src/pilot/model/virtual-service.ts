// VirtualServices as generators read them: full host names, `namespace/name` gateways, and who may see them.
import type { Destination, VirtualService } from '../../config/index.ts'
import { routeSemantics } from '../gateway-api/names.ts'
import { resolveHost } from './host.ts'
import type { ExportTo } from './service.ts'

/** The gateway name that stands for all sidecars. */
export const MESH_GATEWAY = 'mesh'

const resolved = new WeakMap<VirtualService, VirtualService>()

/** Short names replaced by full ones, in a new resource; the same input gives the same object again. */
export function resolveVirtualService(virtualService: VirtualService, domain: string): VirtualService {
  let out = resolved.get(virtualService)
  if (!out) resolved.set(virtualService, (out = resolve(virtualService, domain)))
  return out
}

function resolve(vs: VirtualService, domain: string): VirtualService {
  const { namespace } = vs.metadata
  const gateway = (name: string): string =>
    name === MESH_GATEWAY || name.includes('/') ? name : `${namespace}/${name}`
  const destination = <D extends Destination | undefined>(d: D): D =>
    d ? { ...d, host: resolveHost(d.host, namespace, domain) } : d
  const routes = <R extends { readonly destination: Destination }>(
    list: readonly R[] | undefined,
  ): readonly R[] | undefined => list?.map((r) => ({ ...r, destination: destination(r.destination) }))
  const { spec } = vs
  return {
    ...vs,
    spec: {
      ...spec,
      hosts: spec.hosts?.map((host) => resolveHost(host, namespace, domain)),
      gateways: spec.gateways?.length ? spec.gateways.map(gateway) : [MESH_GATEWAY],
      http: spec.http?.map((h) => ({
        ...h,
        match: h.match?.map((m) => (m.gateways ? { ...m, gateways: m.gateways.map(gateway) } : m)),
        route: routes(h.route),
        mirror: destination(h.mirror),
        mirrors: routes(h.mirrors),
      })),
      tls: spec.tls?.map((t) => ({
        match: t.match.map((m) => (m.gateways ? { ...m, gateways: m.gateways.map(gateway) } : m)),
        route: routes(t.route),
      })),
      tcp: spec.tcp?.map((t) => ({
        match: t.match?.map((m) => (m.gateways ? { ...m, gateways: m.gateways.map(gateway) } : m)),
        route: routes(t.route),
      })),
    },
  }
}

function matchesSourceLabels({ spec }: VirtualService): boolean {
  return [...(spec.http ?? []), ...(spec.tls ?? []), ...(spec.tcp ?? [])].some((route) =>
    route.match?.some((match) => match.sourceLabels !== undefined),
  )
}

/** VirtualServices by the gateway they name and by who may see them; immutable. */
export class VirtualServiceIndex {
  /** Some route is for sources with certain labels: what applies then depends on the proxy's labels. */
  readonly selectsSources: boolean
  private readonly byGateway = new Map<string, { readonly vs: VirtualService; readonly exportTo: ExportTo }[]>()
  private readonly memo = new Map<string, readonly VirtualService[]>()

  /** How many there are, delegates not counted. */
  readonly size: number

  /** `list` oldest first, resolved. */
  constructor(list: readonly VirtualService[], exportToOf: (vs: VirtualService) => ExportTo) {
    this.size = list.length
    this.selectsSources = list.some(matchesSourceLabels)
    for (const vs of list) {
      // A VirtualService without hosts is a delegate: it speaks only through its roots.
      if (!vs.spec.hosts?.length) continue
      const exportTo = exportToOf(vs)
      if (exportTo === 'none') continue
      for (const gateway of new Set(vs.spec.gateways)) {
        const bound = this.byGateway.get(gateway)
        if (bound) bound.push({ vs, exportTo })
        else this.byGateway.set(gateway, [{ vs, exportTo }])
      }
    }
  }

  /**
   * Those bound to `gateway` (`mesh` or `namespace/name`) that a proxy of `namespace` may see: the private ones of its
   * namespace, then those exported to it by name, then the public ones, each oldest first.
   */
  visible(namespace: string, gateway: string): readonly VirtualService[] {
    const key = `${namespace} ${gateway}`
    let list = this.memo.get(key)
    if (!list) {
      const own: VirtualService[] = []
      const named: VirtualService[] = []
      // A consumer's own routes of the Gateway API go before those of the producer.
      const preferred: VirtualService[] = []
      const open: VirtualService[] = []
      for (const { vs, exportTo } of this.byGateway.get(gateway) ?? []) {
        const isOwn = vs.metadata.namespace === namespace
        if (exportTo === 'all') (isOwn && routeSemantics(vs) === 'gateway' ? preferred : open).push(vs)
        else if (exportTo !== 'none' && exportTo.has(namespace)) (isOwn ? own : named).push(vs)
      }
      this.memo.set(key, (list = [...own, ...named, ...preferred, ...open]))
    }
    return list
  }
}
