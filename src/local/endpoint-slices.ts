import { createHash } from 'node:crypto'
import type { MemoryStore } from '../cluster/index.ts'
import { type EndpointSlice, isPodReady, type Pod, type Service, type ServicePort, selects } from './pod-types.ts'

const MANAGED_BY = 'endpointslice-controller.k8s.io'

/**
 * The slices of a Service: one for each set of resolved target ports among its pods. Pods without an address, or that
 * have run to their end, are left out; terminating ones stay, not ready, so that connections to them may drain.
 */
export function endpointSlices(
  service: Service,
  pods: readonly Pod[],
  zoneOf: (pod: Pod) => string | undefined,
): EndpointSlice[] {
  if (!service.spec.selector || service.spec.type === 'ExternalName') return []
  const groups = new Map<string, { ports: EndpointSlice['ports']; pods: Pod[] }>()
  for (const pod of pods) {
    if (!pod.status?.podIP || pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed') continue
    if (pod.metadata.namespace !== service.metadata.namespace || !selects(service.spec.selector, pod.metadata.labels))
      continue
    const ports = (service.spec.ports ?? []).flatMap((port) => {
      const target = targetPort(port, pod)
      return target === undefined
        ? []
        : [
            {
              name: port.name ?? '',
              port: target,
              protocol: port.protocol ?? 'TCP',
              ...(port.appProtocol ? { appProtocol: port.appProtocol } : {}),
            },
          ]
    })
    const key = JSON.stringify(ports)
    const group = groups.get(key) ?? { ports, pods: [] }
    group.pods.push(pod)
    groups.set(key, group)
  }
  // A Service without pods still has one empty slice, so that consumers know it was looked at.
  if (groups.size === 0) groups.set('', { ports: [], pods: [] })
  return [...groups].map(([key, group]) => slice(service, key, group, zoneOf))
}

function slice(
  service: Service,
  key: string,
  { ports, pods }: { ports: EndpointSlice['ports']; pods: Pod[] },
  zoneOf: (pod: Pod) => string | undefined,
): EndpointSlice {
  const { name, namespace } = service.metadata
  const suffix = createHash('sha256').update(`${service.metadata.uid}${key}`).digest('hex').slice(0, 5)
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${name}-${suffix}`,
      namespace,
      labels: {
        'kubernetes.io/service-name': name,
        'endpointslice.kubernetes.io/managed-by': MANAGED_BY,
        ...(service.spec.clusterIP === 'None' ? { 'service.kubernetes.io/headless': '' } : {}),
      },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid: service.metadata.uid!, controller: true }],
    },
    addressType: 'IPv4',
    ports,
    endpoints: pods.map((pod) => {
      const terminating = pod.metadata.deletionTimestamp !== undefined
      const serving = isPodReady(pod)
      const ready = (serving && !terminating) || (service.spec.publishNotReadyAddresses ?? false)
      const zone = zoneOf(pod)
      return {
        addresses: [pod.status!.podIP!],
        conditions: { ready, serving, terminating },
        ...(pod.spec.hostname ? { hostname: pod.spec.hostname } : {}),
        nodeName: pod.spec.nodeName,
        ...(zone ? { zone } : {}),
        targetRef: { kind: 'Pod', name: pod.metadata.name, namespace: pod.metadata.namespace!, uid: pod.metadata.uid },
      }
    }),
  }
}

/** The number a Service port means on this pod; undefined when the pod has no port of that name. */
function targetPort(port: ServicePort, pod: Pod): number | undefined {
  const target = port.targetPort ?? port.port
  if (typeof target === 'number') return target
  for (const container of pod.spec.containers) {
    const named = container.ports?.find((p) => p.name === target && (p.protocol ?? 'TCP') === (port.protocol ?? 'TCP'))
    if (named) return named.containerPort
  }
  return undefined
}

/** Keeps the EndpointSlices of every Service with a selector in step with the pods. */
export class EndpointSliceController {
  private readonly store: MemoryStore

  constructor(store: MemoryStore) {
    this.store = store
    store.watch((events) => {
      const namespaces = new Set<string>()
      for (const { kind, object } of events) {
        if (kind === 'Service' || kind === 'Pod') namespaces.add(object.metadata.namespace!)
      }
      for (const namespace of namespaces) this.reconcile(namespace)
    })
  }

  private reconcile(namespace: string): void {
    const pods = this.store.list('Pod', namespace) as Pod[]
    const nodes = new Map(
      this.store
        .list('Node')
        .map((node) => [node.metadata.name, node.metadata.labels?.['topology.kubernetes.io/zone']]),
    )
    const zoneOf = (pod: Pod) => nodes.get(pod.spec.nodeName ?? '')
    const wanted = (this.store.list('Service', namespace) as Service[]).flatMap((service) =>
      endpointSlices(service, pods, zoneOf),
    )
    const names = new Set(wanted.map((object) => object.metadata.name))
    const stale = this.store
      .list('EndpointSlice.discovery.k8s.io', namespace)
      .filter(
        (old) =>
          old.metadata.labels?.['endpointslice.kubernetes.io/managed-by'] === MANAGED_BY &&
          !names.has(old.metadata.name),
      )
      .map((old) => ({ kind: 'EndpointSlice.discovery.k8s.io', namespace, name: old.metadata.name }))
    this.store.commit(
      wanted.map((object) => ({ object })),
      stale,
    )
  }
}
