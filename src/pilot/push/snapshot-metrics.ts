// Gauges that are read off the state of the moment when somebody scrapes: they cost a push nothing.
import { Counter, Gauge, type Registry } from 'prom-client'
import { residentBytes } from '../../base/memory-usage.ts'
import type { Store } from '../../cluster/index.ts'
import type { PushContext } from '../model/push-context.ts'
import { REMARK_METRICS, type Remark } from '../model/remarks.ts'
import { serviceKey } from '../model/service.ts'
import { podsOfSlice, serviceNameOfSlice } from '../registry/kube-endpoints.ts'
import type { EncodedCache } from './encoded-cache.ts'

export interface SnapshotSources {
  readonly store: Pick<Store, 'get' | 'list'>
  pushContext(): PushContext | null
  readonly remarks: Iterable<Remark>
  /** By xDS type: cds, eds, lds, rds. */
  readonly caches: Readonly<Record<string, Pick<EncodedCache<unknown>, 'hits' | 'misses' | 'evictions' | 'size'>>>
}

/** Registers them, under istiod's names. */
export function registerSnapshotMetrics(registry: Registry, sources: SnapshotSources): void {
  const registers = [registry]
  const gauge = (name: string, help: string, count: (push: PushContext) => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const push = sources.pushContext()
        this.set(push ? count(push) : 0)
      },
    })
  }
  gauge('pilot_services', 'Services known.', (push) => push.services.all.length)
  gauge('pilot_virt_services', 'VirtualServices known.', (push) => push.virtualServices.size)
  gauge('pilot_endpoint_not_ready', 'Endpoints that are not ready.', notReady)
  gauge('pilot_eds_no_instances', 'Ports of services without an endpoint.', (push) => empty(push, false))
  gauge('pilot_dns_cluster_without_endpoints', 'Ports of services found by DNS without a name to resolve.', (push) =>
    empty(push, true),
  )
  gauge('pilot_no_ip', 'Workloads without an address.', withoutAddress)
  gauge(
    'pilot_destrule_subsets',
    'Hosts with a subset that several DestinationRules define.',
    (push) => push.destinationRules.duplicateSubsetHosts.size,
  )
  gauge('endpoint_no_pod', 'Services with endpoints whose pods are not known.', () => withoutPods(sources).services)
  gauge('pilot_k8s_endpoints_pending_pod', 'Endpoints whose pods are not known.', () => withoutPods(sources).endpoints)
  registerRemarkMetrics(registry, sources)
  registerCacheMetrics(registry, sources)
  registerProcessMetrics(registry)
}

function registerRemarkMetrics(registry: Registry, { remarks }: SnapshotSources): void {
  for (const [name, help] of Object.entries(REMARK_METRICS)) {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        const keys = new Set<string>()
        for (const { metric, key } of remarks) if (metric === name) keys.add(key)
        this.set(keys.size)
      },
    })
  }
}

function registerCacheMetrics(registry: Registry, { caches }: SnapshotSources): void {
  new Counter({
    name: 'xds_cache_reads',
    help: 'Reads of the caches of encoded resources.',
    labelNames: ['type'],
    registers: [registry],
    collect() {
      this.reset()
      for (const { hits, misses } of Object.values(caches)) {
        this.inc({ type: 'hit' }, hits)
        this.inc({ type: 'miss' }, misses)
      }
    },
  })
  new Counter({
    name: 'xds_cache_evictions',
    help: 'Entries that the caches of encoded resources let go of, unused, for lack of room.',
    registers: [registry],
    collect() {
      this.reset()
      for (const { evictions } of Object.values(caches)) this.inc(evictions)
    },
  })
  new Gauge({
    name: 'xds_cache_size',
    help: 'Entries of the caches of encoded resources.',
    registers: [registry],
    collect() {
      this.set(Object.values(caches).reduce((sum, cache) => sum + cache.size, 0))
    },
  })
}

function registerProcessMetrics(registry: Registry): void {
  const registers = [registry]
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'User and system CPU seconds of the process.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage()
      this.reset()
      this.inc((user + system) / 1e6)
    },
  })
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the process.',
    registers,
    collect() {
      const bytes = residentBytes()
      if (bytes !== null) this.set(bytes)
    },
  })
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When the process started, in seconds since the epoch.',
    registers,
  }).set(performance.timeOrigin / 1000)
  new Gauge({
    name: 'istiod_uptime_seconds',
    help: 'Seconds since the process started.',
    registers,
    collect() {
      this.set(process.uptime())
    },
  })
}

function notReady(push: PushContext): number {
  let count = 0
  for (const set of push.endpoints.values()) {
    for (const { health } of set.endpoints) if (health === 'UNHEALTHY') count++
  }
  return count
}

/** Service ports without an endpoint, of services that are found by DNS or of the others. */
function empty(push: PushContext, dns: boolean): number {
  let count = 0
  for (const service of push.services.all) {
    const { resolution } = service
    const byDns = resolution === 'DNSLB' || resolution === 'DNSRoundRobinLB'
    if (byDns !== dns || resolution === 'Passthrough' || resolution === 'Alias') continue
    const endpoints = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))?.endpoints ?? []
    for (const port of service.ports) if (!endpoints.some((e) => e.portName === port.name)) count++
  }
  return count
}

/** Endpoints that are left out until their pods come, and how many services have such. */
function withoutPods({ store }: SnapshotSources): { endpoints: number; services: number } {
  const services = new Set<string>()
  let endpoints = 0
  for (const slice of store.list('EndpointSlice.discovery.k8s.io')) {
    const service = serviceNameOfSlice(slice)
    if (service === undefined) continue
    for (const pod of podsOfSlice(slice)) {
      const slash = pod.indexOf('/')
      if (store.get('Pod', pod.slice(0, slash), pod.slice(slash + 1))) continue
      endpoints++
      services.add(`${slice.metadata.namespace}/${service}`)
    }
  }
  return { endpoints, services: services.size }
}

function withoutAddress(push: PushContext): number {
  let count = 0
  for (const workloads of push.workloads.byNamespace.values()) {
    for (const { addresses } of workloads) if (addresses.length === 0) count++
  }
  return count
}
