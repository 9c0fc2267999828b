// `get` as kubectl prints it: columns padded to their widest cell plus three spaces.
import type { KubeObject } from '../cluster/index.ts'
import { podSummary } from './pod-summary.ts'
import type { Deployment, EndpointSlice, Pod, Service } from './pod-types.ts'

interface Column {
  readonly title: string
  readonly cell: (object: KubeObject, now: number) => string
  /** Shown with `-o wide` only. */
  readonly wide?: boolean
}

const NAME: Column = { title: 'NAME', cell: ({ metadata }) => metadata.name }
const AGE: Column = {
  title: 'AGE',
  cell: ({ metadata }, now) => humanAge(now - Date.parse(metadata.creationTimestamp ?? '')),
}
const spec = (object: KubeObject) => (object.spec ?? {}) as Record<string, unknown>
const listCell = (value: unknown) => (Array.isArray(value) && value.length > 0 ? JSON.stringify(value) : '')

const HOSTNAMES: Column = { title: 'HOSTNAMES', cell: (o) => listCell(spec(o).hostnames) }

const COLUMNS: Record<string, readonly Column[]> = {
  Pod: [
    NAME,
    { title: 'READY', cell: (o) => `${podSummary(o as Pod).ready}/${podSummary(o as Pod).total}` },
    { title: 'STATUS', cell: (o) => podSummary(o as Pod).status },
    { title: 'RESTARTS', cell: (o) => String(podSummary(o as Pod).restarts) },
    AGE,
    { title: 'IP', cell: (o) => (o as Pod).status?.podIP ?? '<none>', wide: true },
    { title: 'NODE', cell: (o) => (o as Pod).spec.nodeName ?? '<none>', wide: true },
    { title: 'MESSAGE', cell: (o) => podSummary(o as Pod).message ?? '<none>', wide: true },
  ],
  Service: [
    NAME,
    { title: 'TYPE', cell: (o) => (o as Service).spec.type ?? 'ClusterIP' },
    { title: 'CLUSTER-IP', cell: (o) => (o as Service).spec.clusterIP ?? '<none>' },
    { title: 'EXTERNAL-IP', cell: (o) => (o as Service).spec.externalName ?? externalIps(o) },
    {
      title: 'PORT(S)',
      cell: (o) => (o as Service).spec.ports?.map((p) => `${p.port}/${p.protocol ?? 'TCP'}`).join(',') || '<none>',
    },
    AGE,
    { title: 'SELECTOR', cell: (o) => labelText((o as Service).spec.selector), wide: true },
  ],
  'Deployment.apps': [
    NAME,
    {
      title: 'READY',
      cell: (o) => `${deploymentStatus(o).readyReplicas ?? 0}/${(o as Deployment).spec.replicas ?? 1}`,
    },
    { title: 'UP-TO-DATE', cell: (o) => String(deploymentStatus(o).updatedReplicas ?? 0) },
    { title: 'AVAILABLE', cell: (o) => String(deploymentStatus(o).availableReplicas ?? 0) },
    AGE,
    {
      title: 'CONTAINERS',
      cell: (o) =>
        containers(o)
          .map((c) => c.name)
          .join(','),
      wide: true,
    },
    {
      title: 'IMAGES',
      cell: (o) =>
        containers(o)
          .map((c) => c.image)
          .join(','),
      wide: true,
    },
    { title: 'SELECTOR', cell: (o) => labelText((o as Deployment).spec.selector?.matchLabels), wide: true },
  ],
  'ReplicaSet.apps': [
    NAME,
    { title: 'DESIRED', cell: (o) => String((spec(o).replicas as number | undefined) ?? 1) },
    { title: 'CURRENT', cell: (o) => String((o.status as { replicas?: number } | undefined)?.replicas ?? 0) },
    { title: 'READY', cell: (o) => String((o.status as { readyReplicas?: number } | undefined)?.readyReplicas ?? 0) },
    AGE,
  ],
  Endpoints: [NAME, { title: 'ENDPOINTS', cell: (o) => (o.endpoints as string) || '<none>' }, AGE],
  'EndpointSlice.discovery.k8s.io': [
    NAME,
    { title: 'ADDRESSTYPE', cell: (o) => (o as EndpointSlice).addressType },
    { title: 'PORTS', cell: (o) => (o as EndpointSlice).ports.map((p) => p.port).join(',') || '<unset>' },
    {
      title: 'ENDPOINTS',
      cell: (o) => (o as EndpointSlice).endpoints.flatMap((e) => e.addresses).join(',') || '<unset>',
    },
    AGE,
  ],
  Namespace: [NAME, { title: 'STATUS', cell: () => 'Active' }, AGE],
  Node: [NAME, { title: 'STATUS', cell: () => 'Ready' }, { title: 'ROLES', cell: () => 'control-plane' }, AGE],
  ServiceAccount: [NAME, AGE],
  ConfigMap: [NAME, { title: 'DATA', cell: (o) => String(Object.keys((o.data ?? {}) as object).length) }, AGE],
  Secret: [
    NAME,
    { title: 'TYPE', cell: (o) => (o.type as string | undefined) ?? 'Opaque' },
    { title: 'DATA', cell: (o) => String(Object.keys({ ...(o.data as object), ...(o.stringData as object) }).length) },
    AGE,
  ],
  'VirtualService.networking.istio.io': [
    NAME,
    { title: 'GATEWAYS', cell: (o) => listCell(spec(o).gateways) },
    { title: 'HOSTS', cell: (o) => listCell(spec(o).hosts) },
    AGE,
  ],
  'DestinationRule.networking.istio.io': [NAME, { title: 'HOST', cell: (o) => String(spec(o).host ?? '') }, AGE],
  'ServiceEntry.networking.istio.io': [
    NAME,
    { title: 'HOSTS', cell: (o) => listCell(spec(o).hosts) },
    { title: 'LOCATION', cell: (o) => String(spec(o).location ?? '') },
    { title: 'RESOLUTION', cell: (o) => String(spec(o).resolution ?? '') },
    AGE,
  ],
  'GatewayClass.gateway.networking.k8s.io': [
    NAME,
    { title: 'CONTROLLER', cell: (o) => String(spec(o).controllerName ?? '') },
    { title: 'ACCEPTED', cell: (o) => conditionCell(o, 'Accepted') },
    AGE,
    { title: 'DESCRIPTION', cell: (o) => String(spec(o).description ?? ''), wide: true },
  ],
  'Gateway.gateway.networking.k8s.io': [
    NAME,
    { title: 'CLASS', cell: (o) => String(spec(o).gatewayClassName ?? '') },
    {
      title: 'ADDRESS',
      cell: ({ status }) => ((status ?? {}) as { addresses?: { value: string }[] }).addresses?.[0]?.value ?? '',
    },
    { title: 'PROGRAMMED', cell: (o) => conditionCell(o, 'Programmed') },
    AGE,
  ],
  'ListenerSet.gateway.networking.k8s.io': [
    NAME,
    { title: 'ACCEPTED', cell: (o) => conditionCell(o, 'Accepted') },
    { title: 'PROGRAMMED', cell: (o) => conditionCell(o, 'Programmed') },
    AGE,
  ],
  'HTTPRoute.gateway.networking.k8s.io': [NAME, HOSTNAMES, AGE],
  'GRPCRoute.gateway.networking.k8s.io': [NAME, HOSTNAMES, AGE],
  'TLSRoute.gateway.networking.k8s.io': [NAME, HOSTNAMES, AGE],
  'Ingress.networking.k8s.io': [
    NAME,
    { title: 'CLASS', cell: (o) => String(spec(o).ingressClassName ?? '<none>') },
    {
      title: 'HOSTS',
      cell: (o) => ((spec(o).rules ?? []) as { host?: string }[]).flatMap(({ host }) => host ?? []).join(',') || '*',
    },
    { title: 'ADDRESS', cell: (o) => ingressAddress(o) },
    { title: 'PORTS', cell: (o) => (Array.isArray(spec(o).tls) ? '80, 443' : '80') },
    AGE,
  ],
  'PeerAuthentication.security.istio.io': [
    NAME,
    { title: 'MODE', cell: (o) => String((spec(o).mtls as { mode?: string } | undefined)?.mode ?? '') },
    AGE,
  ],
  'AuthorizationPolicy.security.istio.io': [NAME, { title: 'ACTION', cell: (o) => String(spec(o).action ?? '') }, AGE],
}

interface ConditionRow {
  readonly type?: string
  readonly status?: string
}

function externalIps({ spec: own, status }: KubeObject): string {
  const { loadBalancer } = (status ?? {}) as { loadBalancer?: { ingress?: { ip?: string; hostname?: string }[] } }
  const given = (loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip ?? hostname)
  if (given.length > 0) return given.join(',')
  return (own as Service['spec']).type === 'LoadBalancer' ? '<pending>' : '<none>'
}

function ingressAddress({ status }: KubeObject): string {
  const { loadBalancer } = (status ?? {}) as { loadBalancer?: { ingress?: { ip?: string; hostname?: string }[] } }
  return (loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip ?? hostname).join(',')
}

/** The status of a condition; empty while there is none. */
function conditionCell({ status }: KubeObject, type: string): string {
  const { conditions } = (status ?? {}) as { conditions?: readonly ConditionRow[] }
  return conditions?.find((condition) => condition.type === type)?.status ?? ''
}

interface TableOptions {
  readonly wide?: boolean
  readonly withNamespace?: boolean
  readonly now?: number
}

/** The rows of a kind's table, the title row first. */
export function tableRows(kind: string, objects: readonly KubeObject[], options: TableOptions = {}): string[][] {
  const columns = (COLUMNS[kind] ?? [NAME, AGE]).filter((column) => options.wide || !column.wide)
  const now = options.now ?? Date.now()
  const space = (text: string) => (options.withNamespace ? [text] : [])
  return [
    [...space('NAMESPACE'), ...columns.map((column) => column.title)],
    ...objects.map((object) => [
      ...space(object.metadata.namespace ?? ''),
      ...columns.map((column) => column.cell(object, now)),
    ]),
  ]
}

/** Lines of a table; the last column is not padded. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]! + 3)))
        .join('')
        .trimEnd(),
    )
    .join('\n')
}

/** kubectl's short ages: `8s`, `3m12s`, `45m`, `5h3m`, `2d4h`, `30d`. */
export function humanAge(ms: number): string {
  if (Number.isNaN(ms)) return '<unknown>'
  const s = Math.max(0, Math.floor(ms / 1000))
  const m = Math.floor(s / 60)
  const h = Math.floor(m / 60)
  const d = Math.floor(h / 24)
  const pair = (big: number, unit: string, small: number, smallUnit: string) =>
    `${big}${unit}${small > 0 ? `${small}${smallUnit}` : ''}`
  if (s < 120) return `${s}s`
  if (m < 10) return pair(m, 'm', s % 60, 's')
  if (h < 3) return `${m}m`
  if (h < 8) return pair(h, 'h', m % 60, 'm')
  if (h < 48) return `${h}h`
  if (d < 8) return pair(d, 'd', h % 24, 'h')
  return `${d}d`
}

function labelText(labels: Record<string, string> | undefined): string {
  return (
    Object.entries(labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(',') || '<none>'
  )
}

function deploymentStatus(object: KubeObject): {
  readyReplicas?: number
  updatedReplicas?: number
  availableReplicas?: number
} {
  return (object.status ?? {}) as { readyReplicas?: number }
}

function containers(object: KubeObject): { name: string; image?: string }[] {
  return (object as Deployment).spec.template.spec.containers
}

/** `get endpoints`: a Service's ready addresses, the first three and how many more. */
export function endpointsView(slices: readonly EndpointSlice[]): KubeObject[] {
  const services = Map.groupBy(
    slices,
    (s) => `${s.metadata.namespace}/${s.metadata.labels?.['kubernetes.io/service-name']}`,
  )
  return [...services].map(([key, mine]) => {
    const [namespace, name] = key.split('/') as [string, string]
    const addresses = mine.flatMap((slice) =>
      slice.ports.flatMap(({ port }) =>
        slice.endpoints
          .filter((e) => e.conditions?.ready !== false)
          .flatMap((e) => e.addresses.map((ip) => `${ip}:${port}`)),
      ),
    )
    const text = addresses.slice(0, 3).join(',') + (addresses.length > 3 ? ` + ${addresses.length - 3} more...` : '')
    const { creationTimestamp } = mine[0]!.metadata
    return { apiVersion: 'v1', kind: 'Endpoints', metadata: { name, namespace, creationTimestamp }, endpoints: text }
  })
}
