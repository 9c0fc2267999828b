// The control plane's own metrics, under istiod's names.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'

const SHORT: Readonly<Record<string, string>> = {
  [CDS_TYPE]: 'cds',
  [EDS_TYPE]: 'eds',
  [LDS_TYPE]: 'lds',
  [RDS_TYPE]: 'rds',
}

/** `cds` for the cluster type, and so on; the last part of the URL for types without a short name. */
export function shortType(typeUrl: string): string {
  return SHORT[typeUrl] ?? typeUrl.slice(typeUrl.lastIndexOf('.') + 1)
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
  readonly validations = new Counter({
    name: 'galley_validation_reviews',
    help: 'Resources that the validating webhook was asked about.',
    labelNames: ['result'],
    ...this.shared,
  })
  readonly injections = new Counter({
    name: 'sidecar_injection_requests_total',
    help: 'Pods that the injecting webhook was asked about.',
    labelNames: ['result'],
    ...this.shared,
  })
  readonly clients = new Gauge({
    name: 'pilot_xds',
    help: 'Connected xDS clients.',
    labelNames: ['version'],
    ...this.shared,
  })
  readonly pushes = new Counter({
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
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
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
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1],
    ...this.shared,
  })
  readonly inboundUpdates = new Counter({
    name: 'pilot_inbound_updates',
    help: 'Changes received from the store.',
    labelNames: ['type'],
    ...this.shared,
  })
  readonly services = new Gauge({ name: 'pilot_services', help: 'Services known.', ...this.shared })
  readonly virtualServices = new Gauge({ name: 'pilot_virt_services', help: 'VirtualServices known.', ...this.shared })
  readonly rejectedConfigs = new Counter({
    name: 'pilot_total_rejected_configs',
    help: 'Resources refused for their content.',
    labelNames: ['kind'],
    ...this.shared,
  })
  private readonly rejectsByType = new Map<string, Gauge>()

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
