// The control plane's own metrics, under istiod's names.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { GroupKind, Store, StoreEvent } from '../../cluster/index.ts'
import type { CertificateOutcome } from '../../security/index.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import { NDS_TYPE } from '../nds/generate.ts'
import { podsOfSlice } from '../registry/kube-endpoints.ts'

const SHORT: Readonly<Record<string, string>> = {
  [CDS_TYPE]: 'cds',
  [EDS_TYPE]: 'eds',
  [LDS_TYPE]: 'lds',
  [RDS_TYPE]: 'rds',
}

/** Types without a short name of istiod's. */
const KNOWN: ReadonlySet<string> = new Set([SDS_TYPE, ECDS_TYPE, NDS_TYPE])
/** Clients ask for any type they can think of, and a label value is kept for good. */
const OTHER = 'other'

/** `cds` for the cluster type, and so on; the last part of the URL for types without a short name. */
export function shortType(typeUrl: string): string {
  return SHORT[typeUrl] ?? (KNOWN.has(typeUrl) ? typeUrl.slice(typeUrl.lastIndexOf('.') + 1) : OTHER)
}

const EVENTS = { added: 'add', modified: 'update', deleted: 'delete' } as const

/** istiod's names of what its service registry watches. */
const REGISTRY_TYPES: Readonly<Record<GroupKind, string>> = {
  Service: 'Services',
  'EndpointSlice.discovery.k8s.io': 'EndpointSlice',
  Pod: 'Pods',
  Node: 'Nodes',
  Namespace: 'Namespaces',
}

function updateType(kind: GroupKind, deleted: boolean): string {
  if (kind === 'Service') return deleted ? 'svcdelete' : 'svc'
  return REGISTRY_TYPES[kind] && kind !== 'Namespace' ? 'eds' : 'config'
}

/** One set of metrics for each control plane in the process: nothing is global. */
export class PilotMetrics {
  readonly registry = new Registry()
  private readonly shared = { registers: [this.registry] }
  readonly info = new Gauge({
    name: 'pilot_info',
    help: 'Version of the control plane.',
    labelNames: ['version'],
    ...this.shared,
  })
  readonly build = new Gauge({
    name: 'istio_build',
    help: 'Version of the control plane, as every component of Istio tells its own.',
    labelNames: ['component', 'tag'],
    ...this.shared,
  })
  readonly managedClusters = new Gauge({
    name: 'istiod_managed_clusters',
    help: 'Clusters that the control plane watches.',
    labelNames: ['cluster_type'],
    ...this.shared,
  })
  readonly validated = new Counter({
    name: 'galley_validation_passed',
    help: 'Resources that the validating webhook let pass.',
    labelNames: ['group', 'version', 'resource'],
    ...this.shared,
  })
  readonly invalidated = new Counter({
    name: 'galley_validation_failed',
    help: 'Resources that the validating webhook refused.',
    labelNames: ['group', 'version', 'resource', 'reason'],
    ...this.shared,
  })
  readonly validationErrors = new Counter({
    name: 'galley_validation_http_error',
    help: 'Requests to the validating webhook that could not be answered.',
    labelNames: ['status'],
    ...this.shared,
  })
  private readonly injectionRequests = new Counter({
    name: 'sidecar_injection_requests_total',
    help: 'Pods that the injecting webhook was asked about.',
    ...this.shared,
  })
  private readonly injectionResults = {
    success: new Counter({ name: 'sidecar_injection_success_total', help: 'Pods injected.', ...this.shared }),
    failure: new Counter({ name: 'sidecar_injection_failure_total', help: 'Pods refused.', ...this.shared }),
    skip: new Counter({ name: 'sidecar_injection_skip_total', help: 'Pods left as they were.', ...this.shared }),
  }
  readonly injectionTime = new Histogram({
    name: 'sidecar_injection_time_seconds',
    help: 'Seconds to inject one pod.',
    buckets: [0.1, 0.5, 1, 2, 3, 5],
    ...this.shared,
  })
  readonly keySetsFetched = new Counter({
    name: 'pilot_jwks_resolver_network_fetch_success_total',
    help: 'JSON Web Key Sets fetched.',
    ...this.shared,
  })
  readonly keySetsFailed = new Counter({
    name: 'pilot_jwks_resolver_network_fetch_fail_total',
    help: 'JSON Web Key Sets that could not be fetched.',
    ...this.shared,
  })
  readonly credentialErrors = new Counter({
    name: 'pilot_sds_certificate_errors_total',
    help: 'Credentials that a proxy asked for and could not be given.',
    ...this.shared,
  })
  readonly registrations = {
    success: this.registration('success', 'Workloads that registered themselves.'),
    updates: this.registration('updates', 'Registrations of workloads that were known.'),
    unregister: this.registration('unregister', 'Registered workloads that left.'),
    deletes: this.registration('deletes', 'Registered workloads that were forgotten.'),
    errors: this.registration('errors', 'Registrations that failed.'),
  }
  readonly missingProviders = new Counter({
    name: 'provider_lookup_cluster_failures',
    help: 'Extension providers in use whose service was not found, counted in every push.',
    labelNames: ['type'],
    ...this.shared,
  })
  readonly receivedMax = new Gauge({
    name: 'pilot_xds_recv_max',
    help: 'Bytes of the largest request of a proxy.',
    ...this.shared,
  })
  readonly withoutServices = new Counter({
    name: 'pilot_k8s_proxies_with_no_service_targets',
    help: 'Proxies that connected and serve no service.',
    labelNames: ['reason'],
    ...this.shared,
  })
  private readonly clients = new Gauge({
    name: 'pilot_xds',
    help: 'Connected xDS clients.',
    labelNames: ['version'],
    ...this.shared,
  })
  private readonly pushes = new Counter({
    name: 'pilot_xds_pushes',
    help: 'xDS responses sent.',
    labelNames: ['type'],
    ...this.shared,
  })
  readonly rejects = new Counter({
    name: 'pilot_total_xds_rejects',
    help: 'xDS responses that a proxy refused.',
    labelNames: ['type'],
    ...this.shared,
  })
  readonly expiredNonces = new Counter({
    name: 'pilot_xds_expired_nonce',
    help: 'Requests that answered a response which was no longer the last one.',
    labelNames: ['type'],
    ...this.shared,
  })
  readonly internalErrors = new Counter({
    name: 'pilot_total_xds_internal_errors',
    help: 'Faults of the control plane while serving a proxy.',
    ...this.shared,
  })
  readonly pushTime = new Histogram({
    name: 'pilot_xds_push_time',
    help: 'Seconds to generate and send one type to one proxy.',
    labelNames: ['type'],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3, 5, 10, 20, 30],
    ...this.shared,
  })
  readonly sendTime = new Histogram({
    name: 'pilot_xds_send_time',
    help: 'Seconds to hand a response of one type to the connection of one proxy.',
    buckets: [0.001, 0.01, 0.1, 1, 3, 5, 10, 20, 30],
    ...this.shared,
  })
  private readonly configSize = new Histogram({
    name: 'pilot_xds_config_size_bytes',
    help: 'Bytes of responses.',
    labelNames: ['type'],
    buckets: [1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000],
    ...this.shared,
  })
  readonly debounceTime = new Histogram({
    name: 'pilot_debounce_time',
    help: 'Seconds from the first change that a push holds to the start of the push.',
    buckets: [0.01, 0.1, 1, 3, 5, 10, 20, 30],
    ...this.shared,
  })
  readonly convergence = new Histogram({
    name: 'pilot_proxy_convergence_time',
    help: 'Seconds from a change of configuration to its push to a proxy.',
    buckets: [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10],
    ...this.shared,
  })
  readonly propagation = new Histogram({
    name: 'pilot_proxy_propagation_time',
    help: 'Seconds from a change of configuration to the last acknowledgement of a proxy.',
    buckets: [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10],
    ...this.shared,
  })
  readonly queueTime = new Histogram({
    name: 'pilot_proxy_queue_time',
    help: 'Seconds that a push waited for its turn.',
    buckets: [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10],
    ...this.shared,
  })
  readonly triggers = new Counter({
    name: 'pilot_push_triggers',
    help: 'Pushes started, by what started them.',
    labelNames: ['type'],
    ...this.shared,
  })
  readonly contextInit = new Histogram({
    name: 'pilot_pushcontext_init_seconds',
    help: 'Seconds to build a push context.',
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3, 5],
    ...this.shared,
  })
  private readonly inboundUpdates = new Counter({
    name: 'pilot_inbound_updates',
    help: 'Changes received from the store: config, eds (endpoints), svc (services), svcdelete.',
    labelNames: ['type'],
    ...this.shared,
  })
  private readonly configEvents = new Counter({
    name: 'pilot_k8s_cfg_events',
    help: 'Events of configuration resources.',
    labelNames: ['type', 'event'],
    ...this.shared,
  })
  private readonly registryEvents = new Counter({
    name: 'pilot_k8s_reg_events',
    help: 'Events of services, their endpoints, pods and nodes.',
    labelNames: ['type', 'event'],
    ...this.shared,
  })
  private readonly withoutPods = new Counter({
    name: 'pilot_k8s_endpoints_with_no_pods',
    help: 'Endpoints that came before their pods.',
    ...this.shared,
  })
  private readonly csrs = new Counter({
    name: 'citadel_server_csr_count',
    help: 'Certificate requests received.',
    ...this.shared,
  })
  private readonly issued = new Counter({
    name: 'citadel_server_success_cert_issuance_count',
    help: 'Certificates issued.',
    ...this.shared,
  })
  private readonly unauthenticated = new Counter({
    name: 'citadel_server_authentication_failure_count',
    help: 'Certificate requests of callers that did not prove who they are.',
    ...this.shared,
  })
  private readonly unreadable = new Counter({
    name: 'citadel_server_csr_parsing_err_count',
    help: 'Certificate requests that could not be read.',
    ...this.shared,
  })
  private readonly unsigned = new Counter({
    name: 'citadel_server_csr_sign_err_count',
    help: 'Certificate requests that could not be signed.',
    ...this.shared,
  })
  /**
   * For dashboards of istiod: no request names an identity of its own (who asks is what the certificate says), and a
   * response has no deadline (a proxy that does not read gets the next one merged).
   */
  readonly never = [
    new Counter({
      name: 'citadel_server_id_extraction_err_count',
      help: 'Certificate requests without an identity: none, the caller is the identity.',
      ...this.shared,
    }),
    new Counter({
      name: 'pilot_xds_write_timeout',
      help: 'Responses that a proxy did not take in time: none, they have no deadline.',
      ...this.shared,
    }),
  ]
  /** The root certificate is its own chain: an authority below another one is not built. */
  private readonly expiries = ['root_cert', 'cert_chain'].map((what) => ({
    timestamp: new Gauge({
      name: `citadel_server_${what}_expiry_timestamp`,
      help: 'When the certificate of the authority expires, in seconds since the epoch.',
      ...this.shared,
    }),
    what,
  }))
  readonly rejectedConfigs = new Counter({
    name: 'pilot_total_rejected_configs',
    help: 'Resources refused for their content.',
    labelNames: ['kind'],
    ...this.shared,
  })
  private readonly rejectsByType = new Map<string, Gauge>()

  private registration(what: string, help: string): Counter {
    return new Counter({ name: `auto_registration_${what}_total`, help, ...this.shared })
  }

  /** When the authority's certificate expires. */
  authorityExpires(at: Date): void {
    for (const { timestamp, what } of this.expiries) {
      timestamp.set(at.getTime() / 1000)
      new Gauge({
        name: `citadel_server_${what}_expiry_seconds`,
        help: 'Seconds until the certificate of the authority expires.',
        ...this.shared,
        collect() {
          this.set((at.getTime() - Date.now()) / 1000)
        },
      })
    }
  }

  private readonly clientsOf = new Map<string, number>()

  /** A client that says it has this version has connected (1), or left (-1). A version that nobody has leaves no trace. */
  connected(version: string, change: 1 | -1): void {
    const label = version || 'unknown'
    const count = (this.clientsOf.get(label) ?? 0) + change
    if (count > 0) {
      this.clientsOf.set(label, count)
      this.clients.set({ version: label }, count)
    } else {
      this.clientsOf.delete(label)
      this.clients.remove({ version: label })
    }
  }

  /** Bytes of one response. */
  sent(typeUrl: string, bytes: number): void {
    const type = shortType(typeUrl)
    this.configSize.observe({ type: type === OTHER ? OTHER : typeUrl }, bytes)
    this.pushes.inc({ type })
  }

  private largestRequest = 0

  /** Takes note of the size of one request. */
  received(bytes: number): void {
    if (bytes <= this.largestRequest) return
    this.largestRequest = bytes
    this.receivedMax.set(bytes)
  }

  /** Counts one pod that the injecting webhook was asked about. */
  injected(result: 'success' | 'failure' | 'skip'): void {
    this.injectionRequests.inc()
    this.injectionResults[result].inc()
  }

  /** Counts what the store says. */
  stored({ kind, type, object }: StoreEvent, store: Pick<Store, 'get'>): void {
    if (kind === 'EndpointSlice.discovery.k8s.io' && type !== 'deleted') {
      for (const pod of podsOfSlice(object)) {
        const slash = pod.indexOf('/')
        if (!store.get('Pod', pod.slice(0, slash), pod.slice(slash + 1))) this.withoutPods.inc()
      }
    }
    this.inboundUpdates.inc({ type: updateType(kind, type === 'deleted') })
    const event = EVENTS[type]
    const registryType = REGISTRY_TYPES[kind]
    if (registryType) this.registryEvents.inc({ type: registryType, event })
    else this.configEvents.inc({ type: kind.split('.', 1)[0]!, event })
  }

  /** Counts one request to the certificate authority. */
  certificate(outcome: CertificateOutcome): void {
    this.csrs.inc()
    const counter = {
      signed: this.issued,
      unauthenticated: this.unauthenticated,
      unreadable: this.unreadable,
      failed: this.unsigned,
    }[outcome]
    counter.inc()
  }

  /** Counts a refusal under `pilot_total_xds_rejects` and `pilot_xds_<type>_reject`. */
  rejected(typeUrl: string): void {
    const type = shortType(typeUrl)
    this.rejects.inc({ type })
    if (!SHORT[typeUrl]) return
    let gauge = this.rejectsByType.get(type)
    if (!gauge) {
      gauge = new Gauge({ name: `pilot_xds_${type}_reject`, help: `Refused ${type} responses.`, ...this.shared })
      this.rejectsByType.set(type, gauge)
    }
    gauge.inc()
  }
}
