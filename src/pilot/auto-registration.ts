// Workloads outside Kubernetes that register themselves: a WorkloadEntry from a WorkloadGroup while their proxy is connected.
import { GRPC_STATUS, GrpcStatusError } from '../base/grpc-status.ts'
import type { Logger } from '../base/logger.ts'
import type { KubeObject, MemoryStore } from '../cluster/index.ts'
import { parseResource, type WorkloadGroup } from '../config/index.ts'
import type { ProxyNode } from './model/node.ts'
import { localityText } from './model/service.ts'
import { HEALTH_CHECKED } from './registry/service-entry.ts'

/** Requests of this type are reports: a healthy workload, or with an error one that is not. */
export const HEALTH_TYPE = 'type.googleapis.com/istio.v1.HealthInformation'

const GROUP_KIND = 'WorkloadGroup.networking.istio.io'
const ENTRY_KIND = 'WorkloadEntry.networking.istio.io'
const API_VERSION = 'networking.istio.io/v1'
const GROUP = 'istio.io/autoRegistrationGroup'
const CONTROLLER = 'istio.io/workloadController'
const CONNECTED = 'istio.io/connectedAt'
const DISCONNECTED = 'istio.io/disconnectedAt'
/** istiod's PILOT_WORKLOAD_ENTRY_GRACE_PERIOD: a proxy that is back by then is still the same workload. */
const GRACE_MS = 10_000
/** Longest name of a Kubernetes object. */
const MAX_NAME = 253

export interface AutoRegistrationOptions {
  readonly store: Pick<MemoryStore, 'get' | 'put' | 'remove'>
  readonly log: Logger
  /** Who registers: this control plane. */
  readonly controller: string
  readonly graceMs?: number
  readonly metrics?: RegistrationCounters
}

type RegistrationCounters = Readonly<
  Record<'success' | 'updates' | 'unregister' | 'deletes' | 'errors', { inc(): void }>
>

/** Life: {@link connected} and {@link disconnected} in turn for each stream, {@link close} once. */
export class AutoRegistration {
  private readonly options: AutoRegistrationOptions
  /** Streams of each registered entry, `namespace/name`. */
  private readonly streams = new Map<string, number>()
  private readonly leaving = new Map<string, NodeJS.Timeout>()

  constructor(options: AutoRegistrationOptions) {
    this.options = options
  }

  /** Registers a proxy that asks for it; throws GrpcStatusError when its group does not exist or cannot be read. */
  connected(proxy: ProxyNode): void {
    const name = entryName(proxy)
    if (name === null) return
    const { store } = this.options
    const groupName = String(proxy.metadata.AUTO_REGISTER_GROUP)
    const object = store.get(GROUP_KIND, proxy.namespace, groupName)
    const parsed = object && parseResource(object)
    const { metrics } = this.options
    if (!object || !parsed?.ok || parsed.value.kind !== 'WorkloadGroup') {
      metrics?.errors.inc()
      const reason = object ? 'is not valid' : 'does not exist'
      throw new GrpcStatusError(
        GRPC_STATUS.FAILED_PRECONDITION,
        `auto-registration: WorkloadGroup ${proxy.namespace}/${groupName} ${reason}`,
      )
    }
    const key = `${proxy.namespace}/${name}`
    clearTimeout(this.leaving.get(key))
    this.leaving.delete(key)
    this.streams.set(key, (this.streams.get(key) ?? 0) + 1)
    const before = store.get(ENTRY_KIND, proxy.namespace, name)
    const entry = before ?? entryOf(name, proxy, parsed.value, object)
    const { [DISCONNECTED]: _gone, ...annotations } = entry.metadata.annotations ?? {}
    this.put(entry, { ...annotations, [CONTROLLER]: this.options.controller, [CONNECTED]: new Date().toISOString() })
    if (before) metrics?.updates.inc()
    else metrics?.success.inc()
    if (!before) this.options.log.info({ entry: key, group: groupName }, 'workload registered itself')
  }

  /** A stream of the proxy ended: after the last one its entry goes, unless it comes back in time. */
  disconnected(proxy: ProxyNode): void {
    const name = entryName(proxy)
    const key = `${proxy.namespace}/${name}`
    const streams = name === null ? undefined : this.streams.get(key)
    if (name === null || streams === undefined) return
    if (streams > 1) {
      this.streams.set(key, streams - 1)
      return
    }
    this.streams.delete(key)
    const entry = this.options.store.get(ENTRY_KIND, proxy.namespace, name)
    if (!entry) return
    const { [CONNECTED]: _before, ...annotations } = entry.metadata.annotations ?? {}
    this.put(entry, { ...annotations, [DISCONNECTED]: new Date().toISOString() })
    this.options.metrics?.unregister.inc()
    const timer = setTimeout(() => {
      this.leaving.delete(key)
      this.options.store.remove([{ kind: ENTRY_KIND, namespace: proxy.namespace, name }])
      this.options.metrics?.deletes.inc()
      this.options.log.info({ entry: key }, 'workload is gone')
    }, this.options.graceMs ?? GRACE_MS)
    timer.unref()
    this.leaving.set(key, timer)
  }

  /** What a workload's agent says of its health; entries that were made by hand are named by metadata WORKLOAD_ENTRY. */
  health(proxy: ProxyNode, healthy: boolean, message: string): void {
    const own = proxy.metadata.WORKLOAD_ENTRY
    const name = entryName(proxy) ?? (typeof own === 'string' && own !== '' ? own : null)
    const entry = name === null ? undefined : this.options.store.get(ENTRY_KIND, proxy.namespace, name)
    if (entry?.metadata.annotations?.[HEALTH_CHECKED] !== 'true') return
    const now = new Date().toISOString()
    const status = (entry.status ?? {}) as { conditions?: { type?: string }[] }
    const condition = {
      type: 'Healthy',
      status: healthy ? 'True' : 'False',
      ...(healthy ? {} : { message }),
      lastProbeTime: now,
      lastTransitionTime: now,
    }
    const others = (status.conditions ?? []).filter(({ type }) => type !== 'Healthy')
    this.options.store.put([{ object: { ...entry, status: { ...status, conditions: [...others, condition] } } }])
  }

  close(): void {
    for (const timer of this.leaving.values()) clearTimeout(timer)
    this.leaving.clear()
  }

  private put(entry: KubeObject, annotations: Record<string, string>): void {
    this.options.store.put([{ object: { ...entry, metadata: { ...entry.metadata, annotations } } }])
  }
}

/** `group-address[-network]`, its end when that is too long; null for a proxy that does not register itself. */
function entryName({ metadata, ip, network, namespace }: ProxyNode): string | null {
  const group = metadata.AUTO_REGISTER_GROUP
  if (typeof group !== 'string' || group === '' || namespace === '') return null
  const parts = [group, ip.replaceAll(':', '-'), ...(network ? [network] : [])]
  return parts.join('-').slice(-MAX_NAME)
}

/** The group's template with what the proxy says of itself; labels: template, group, proxy, the later wins. */
function entryOf(name: string, proxy: ProxyNode, group: WorkloadGroup, object: KubeObject): KubeObject {
  const { template, metadata = {} } = group.spec
  const { 'istio-locality': _inSpec, ...own } = proxy.labels
  const labels = { ...template.labels, ...metadata.labels, ...own }
  const locality = localityText(proxy.locality)
  const probed = proxy.metadata.PROXY_CONFIG as { readinessProbe?: unknown } | undefined
  return {
    apiVersion: API_VERSION,
    kind: 'WorkloadEntry',
    metadata: {
      name,
      namespace: proxy.namespace,
      creationTimestamp: new Date().toISOString(),
      labels,
      annotations: {
        [GROUP]: group.metadata.name,
        ...metadata.annotations,
        ...(group.spec.probe || probed?.readinessProbe ? { [HEALTH_CHECKED]: 'true' } : {}),
      },
      ownerReferences: [
        {
          apiVersion: object.apiVersion,
          kind: 'WorkloadGroup',
          name: group.metadata.name,
          uid: object.metadata.uid ?? '',
          controller: true,
        },
      ],
    },
    spec: {
      ...template,
      address: proxy.ip,
      labels,
      ...(proxy.network ? { network: proxy.network } : {}),
      ...(locality ? { locality } : {}),
    },
  }
}
