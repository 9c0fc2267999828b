// Events of active health checks as lines of JSON (Envoy's file event sink, envoy.data.core.v3.HealthCheckEvent).

import type { AccessLogFile } from '../observe/access-log-file.ts'
import type { HealthCheckerData } from './config.ts'
import type { Host } from './host.ts'

export type FailureType = 'ACTIVE' | 'PASSIVE' | 'NETWORK' | 'NETWORK_TIMEOUT'

export interface FailureEvent {
  readonly failure_type: FailureType
  readonly first_check: boolean
  /** 0 = there was no answer, or not one of HTTP. */
  readonly http_status_code: number
}

/** What the event carries, under its field's name. */
export type HealthEvent =
  | { readonly eject_unhealthy_event: { readonly failure_type: FailureType } }
  | { readonly add_healthy_event: { readonly first_check: boolean } }
  | { readonly successful_health_check_event: Record<string, never> }
  | { readonly health_check_failure_event: FailureEvent }
  | { readonly degraded_healthy_host: Record<string, never> }
  | { readonly no_longer_degraded_host: Record<string, never> }

export class HealthCheckEvents {
  private readonly files: readonly AccessLogFile[]
  private readonly kind: HealthCheckerData['kind']
  private readonly cluster: string

  constructor(files: readonly AccessLogFile[], kind: HealthCheckerData['kind'], cluster: string) {
    this.files = files
    this.kind = kind
    this.cluster = cluster
  }

  log(host: Host, event: HealthEvent): void {
    if (this.files.length === 0) return
    const { address, locality } = host
    const socket =
      address.pipe === undefined
        ? {
            socket_address: {
              protocol: 'TCP',
              address: address.ip,
              resolver_name: '',
              ipv4_compat: false,
              network_namespace_filepath: '',
              port_value: address.port,
            },
          }
        : { pipe: { path: address.pipe, mode: 0 } }
    const line = JSON.stringify({
      health_checker_type: this.kind.toUpperCase(),
      host: socket,
      cluster_name: this.cluster,
      ...event,
      timestamp: new Date().toISOString(),
      ...(Object.keys(host.metadata).length > 0
        ? { metadata: { filter_metadata: host.metadata, typed_filter_metadata: {} } }
        : {}),
      locality: { region: locality.region, zone: locality.zone, sub_zone: locality.subZone },
    })
    for (const file of this.files) {
      file.beginLine().put(`${line}\n`)
      file.endLine()
    }
  }
}
