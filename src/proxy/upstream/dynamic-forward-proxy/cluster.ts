// envoy.clusters.dynamic_forward_proxy with a DNS cache: the host is the one that the request names. The filter in front
// of the router has usually loaded the name already; where there is none, the request waits in a pool of its own kind.

import type { Protocol, ResponseDecoder } from '../../http/codec.ts'
import { ipAddress } from '../../network/address.ts'
import { Cluster } from '../cluster.ts'
import {
  type Cancellable,
  type HttpConnPool,
  type HttpPoolCallbacks,
  type LoadBalancerContext,
  PoolFailureReason,
} from '../cluster-manager.ts'
import { type ClusterData, type EndpointData, HealthStatus } from '../config.ts'
import { Host } from '../host.ts'
import type { ClusterContext, WorkerClusters } from '../worker-clusters.ts'
import { type DnsCache, type DnsCacheHost, type DnsCacheWaiter, type DnsCacheWatcher, LoadStatus } from './dns-cache.ts'
import { hostKey } from './host-key.ts'

/** Filter state that replaces the name or port a connection asks for, as Envoy names it. */
export const DYNAMIC_HOST = 'envoy.upstream.dynamic_host'
export const DYNAMIC_PORT = 'envoy.upstream.dynamic_port'

const NOWHERE = { region: '', zone: '', subZone: '' }
const POLICY = { overprovisioningFactor: 140, weightedPriorityHealth: false }

/** Which host a request or connection asks for, or null when it names none. */
export function requestedHost(context: LoadBalancerContext, secure: boolean): string | null {
  const state = context.downstreamState
  const host = state?.get(DYNAMIC_HOST)
  const port = Number(state?.get(DYNAMIC_PORT) ?? (secure ? 443 : 80))
  const name =
    typeof host === 'string' ? host : (context.headers?.authority ?? context.downstream?.requestedServerName ?? '')
  return name === '' ? null : hostKey(name, port)
}

export class DynamicForwardProxyCluster extends Cluster implements DnsCacheWatcher {
  private readonly cache: DnsCache
  private readonly known = new Map<string, Host>()
  /** Stands for a host that is not known yet, in what is counted before it is. */
  private readonly unresolved: Host

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters, cache: DnsCache) {
    super(data, context, clusters)
    const nowhere = { ...endpointOf('', []), address: { ip: '', port: 0, text: '' } }
    this.unresolved = new Host(nowhere, NOWHERE, 0, this.defaultSocket)
    this.cache = cache
  }

  override start(): void {
    super.start()
    this.cache.watch(this)
  }

  // The cache.

  onHostUpdated(cached: DnsCacheHost): void {
    const host = this.known.get(cached.key)
    if (host === undefined) {
      const endpoint = endpointOf(cached.key, cached.addresses)
      this.known.set(cached.key, this.addHost(new Host(endpoint, NOWHERE, 0, this.socketFor(endpoint, {}), cached.key)))
      this.publish()
    } else host.setAddresses(cached.addresses)
  }

  onHostRemoved(cached: DnsCacheHost): void {
    const host = this.known.get(cached.key)
    if (host === undefined) return
    this.known.delete(cached.key)
    this.dropHost(host)
    host.drainPools()
    this.publish()
  }

  private publish(): void {
    this.hosts.update([{ locality: NOWHERE, priority: 0, weight: 0, hosts: [...this.known.values()] }], POLICY)
    this.stats.membershipChange.inc()
    this.onMembership()
  }

  // Requests.

  override httpPool(
    priority: 'DEFAULT' | 'HIGH',
    downstream: Protocol | '',
    context: LoadBalancerContext,
  ): HttpConnPool | null {
    const key = requestedHost(context, this.secure)
    if (key === null) return null
    if (this.cache.use(key)?.addresses.length) return super.httpPool(priority, downstream, context)
    return new ResolvingPool(this.cache, key, this.unresolved, () => super.httpPool(priority, downstream, context))
  }

  protected override chooseHost(context: LoadBalancerContext): Host | null {
    const key = requestedHost(context, this.secure)
    if (key === null) return null
    this.cache.use(key)
    return this.known.get(key) ?? null
  }

  protected override allHosts(): Iterable<Host> {
    return this.known.values()
  }

  protected override stop(): void {
    this.cache.unwatch(this)
    super.stop()
  }
}

/** Asks the cache before it asks the pool of the host. */
class ResolvingPool implements HttpConnPool {
  readonly host: Host
  private readonly cache: DnsCache
  private readonly key: string
  private readonly choose: () => HttpConnPool | null

  constructor(cache: DnsCache, key: string, placeholder: Host, choose: () => HttpConnPool | null) {
    this.cache = cache
    this.key = key
    this.host = placeholder
    this.choose = choose
  }

  newStream(decoder: ResponseDecoder, callbacks: HttpPoolCallbacks): Cancellable | null {
    const waiting = new WaitingStream(this.cache, this.key, this.choose, decoder, callbacks)
    switch (this.cache.load(this.key, waiting)) {
      case LoadStatus.Loading:
        return waiting
      case LoadStatus.Overflow:
        callbacks.onPoolFailure(PoolFailureReason.NoHost, 'dns_cache_overflow', null)
        return null
      default:
        waiting.onLoaded(this.cache.use(this.key)!)
        return waiting.pending
    }
  }
}

class WaitingStream implements DnsCacheWaiter, Cancellable {
  /** What the host's pool gave to take the request back with. */
  pending: Cancellable | null = null
  private readonly cache: DnsCache
  private readonly key: string
  private readonly choose: () => HttpConnPool | null
  private readonly decoder: ResponseDecoder
  private readonly callbacks: HttpPoolCallbacks

  constructor(
    cache: DnsCache,
    key: string,
    choose: () => HttpConnPool | null,
    decoder: ResponseDecoder,
    callbacks: HttpPoolCallbacks,
  ) {
    this.cache = cache
    this.key = key
    this.choose = choose
    this.decoder = decoder
    this.callbacks = callbacks
  }

  onLoaded(host: DnsCacheHost): void {
    const pool = host.addresses.length > 0 ? this.choose() : null
    if (pool === null) {
      const details = host.failure === '' ? 'no_healthy_upstream' : `dns_resolution_failure{${host.failure}}`
      this.callbacks.onPoolFailure(PoolFailureReason.NoHost, details, null)
      return
    }
    this.pending = pool.newStream(this.decoder, this.callbacks)
  }

  cancel(): void {
    this.cache.cancel(this.key, this)
    this.pending?.cancel()
  }
}

function endpointOf(key: string, addresses: readonly { readonly ip: string; readonly port: number }[]): EndpointData {
  const [first, ...others] = addresses.map(({ ip, port }) => ipAddress(ip, port))
  return {
    address: first ?? ipAddress('0.0.0.0', 0),
    additionalAddresses: others,
    hostname: key,
    observabilityName: '',
    healthStatus: HealthStatus.Unknown,
    weight: 1,
    metadata: {},
    healthCheckPort: 0,
    healthCheckHostname: '',
    healthCheckAddress: null,
    disableActiveHealthCheck: false,
  }
}
