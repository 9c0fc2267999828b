// What every listener of one proxy is made from, gathered once per generation.
import type { MeshConfig, ProxyConfig } from '../../config/index.ts'
import { type ProxyNode, supportsExtension } from '../model/node.ts'
import { proxyConfigOf } from '../model/proxy-config.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Remark } from '../model/remarks.ts'
import type { SidecarScope } from '../model/sidecar-scope.ts'
import { effectiveTelemetry, type WorkloadTelemetry } from '../telemetry/telemetry.ts'

/** Traffic leaving a sidecar, entering one, or through a gateway. */
export type ListenerClass = 'outbound' | 'inbound' | 'gateway'

export interface ListenerContext {
  readonly proxy: ProxyNode
  readonly push: PushContext
  readonly mesh: MeshConfig
  readonly proxyConfig: ProxyConfig
  readonly scope: SidecarScope
  readonly telemetry: WorkloadTelemetry
  /** Which filters of Istio's own Envoy build the proxy can run. */
  readonly canExchangeMetadata: boolean
  readonly canOverrideAlpn: boolean
  readonly canReportIstioStats: boolean
  /** Takes what is left out. */
  readonly remarks: Remark[]
}

export function listenerContext(proxy: ProxyNode, push: PushContext, remarks: Remark[] = []): ListenerContext {
  return {
    proxy,
    push,
    mesh: push.mesh,
    proxyConfig: proxyConfigOf(proxy, push.mesh),
    scope: push.sidecarScope(proxy),
    telemetry: effectiveTelemetry(push, proxy),
    canExchangeMetadata: supportsExtension(proxy, 'istio.metadata_exchange'),
    canOverrideAlpn: supportsExtension(proxy, 'istio.alpn'),
    canReportIstioStats: supportsExtension(proxy, 'istio.stats'),
    remarks,
  }
}

/** A port at which the proxy itself is asked for its health or metrics, or where it listens. */
export function isOwnPort({ proxy, mesh }: ListenerContext, port: number): boolean {
  const { ENVOY_STATUS_PORT, ENVOY_PROMETHEUS_PORT } = proxy.metadata
  return [mesh.proxyListenPort, mesh.proxyInboundListenPort, ENVOY_STATUS_PORT, ENVOY_PROMETHEUS_PORT].some(
    (own) => own !== undefined && Number(own) === port,
  )
}

/** A privileged port that the proxy would have to bind itself is out of reach for an unprivileged one. */
export function canBind({ proxy }: ListenerContext, port: number, bindToPort: boolean): boolean {
  return !(bindToPort && proxy.unprivileged && port < 1024)
}
