// The Istio kinds we read: group, served versions, schema. One line a kind.
import { destinationRule } from './resources/destination-rule.ts'
import { envoyFilter } from './resources/envoy-filter.ts'
import { gateway } from './resources/gateway.ts'
import { authorizationPolicy, peerAuthentication, requestAuthentication } from './resources/security.ts'
import { serviceEntry, workloadEntry, workloadGroup } from './resources/service-entry.ts'
import { sidecar } from './resources/sidecar.ts'
import { telemetry } from './resources/telemetry.ts'
import { virtualService } from './resources/virtual-service.ts'
import { proxyConfigResource, trafficExtension, wasmPlugin } from './resources/wasm-plugin.ts'
import type { Infer } from './schema.ts'

const NETWORKING = 'networking.istio.io'
const SECURITY = 'security.istio.io'
const ALL = ['v1', 'v1beta1', 'v1alpha3'] as const
const SECURE = ['v1', 'v1beta1'] as const

export const KINDS = {
  Gateway: { group: NETWORKING, versions: ALL, spec: gateway },
  VirtualService: { group: NETWORKING, versions: ALL, spec: virtualService },
  DestinationRule: { group: NETWORKING, versions: ALL, spec: destinationRule },
  ServiceEntry: { group: NETWORKING, versions: ALL, spec: serviceEntry },
  WorkloadEntry: { group: NETWORKING, versions: ALL, spec: workloadEntry },
  WorkloadGroup: { group: NETWORKING, versions: ALL, spec: workloadGroup },
  Sidecar: { group: NETWORKING, versions: ALL, spec: sidecar },
  EnvoyFilter: { group: NETWORKING, versions: ['v1alpha3'], spec: envoyFilter },
  ProxyConfig: { group: NETWORKING, versions: ['v1beta1'], spec: proxyConfigResource },
  PeerAuthentication: { group: SECURITY, versions: SECURE, spec: peerAuthentication },
  RequestAuthentication: { group: SECURITY, versions: SECURE, spec: requestAuthentication },
  AuthorizationPolicy: { group: SECURITY, versions: SECURE, spec: authorizationPolicy },
  Telemetry: { group: 'telemetry.istio.io', versions: ['v1', 'v1alpha1'], spec: telemetry },
  TrafficExtension: { group: 'extensions.istio.io', versions: ['v1alpha1'], spec: trafficExtension },
  WasmPlugin: { group: 'extensions.istio.io', versions: ['v1alpha1'], spec: wasmPlugin },
} as const

export type IstioKind = keyof typeof KINDS
export type SpecOf<K extends IstioKind> = Infer<(typeof KINDS)[K]['spec']>

/** Group and kind, as a store keys them: `VirtualService.networking.istio.io`. */
export function istioGroupKind(kind: IstioKind): string {
  return `${kind}.${KINDS[kind].group}`
}

/** Every Istio kind, in a fixed order. */
export const ISTIO_KINDS = Object.keys(KINDS) as readonly IstioKind[]

/** True for API groups that Istio owns: their objects must parse. */
export function isIstioGroup(group: string): boolean {
  return group.endsWith('.istio.io')
}
