// What one group of proxies may see: the effect of a Sidecar resource, or of none.
import type { DestinationRule, MeshConfig, Sidecar, VirtualService } from '../../config/index.ts'
import type { Service } from './service.ts'

/** One egress listener of a Sidecar; without a Sidecar there is exactly one, for all ports. */
export interface EgressListener {
  /** Null: the catch-all listener, every port of its services. */
  readonly port: { readonly number: number; readonly protocol: string; readonly name: string } | null
  /** Empty: by the service's address, or 127.0.0.1 with captureMode NONE. */
  readonly bind: string
  readonly captureMode: 'DEFAULT' | 'IPTABLES' | 'NONE'
  readonly services: readonly Service[]
  readonly virtualServices: readonly VirtualService[]
}

/** DestinationRules of one host merged by Istio's rules; `sources` are the resources it came from, first one first. */
export interface MergedDestinationRule {
  readonly rule: DestinationRule
  readonly sources: readonly DestinationRule[]
}

export interface SidecarScope {
  /** Names every input: equal keys mean equal scopes, also between push contexts. */
  readonly key: string
  readonly namespace: string
  readonly sidecar: Sidecar | null
  readonly egressListeners: readonly EgressListener[]
  /** All services of all egress listeners, each host once, oldest first. */
  readonly services: readonly Service[]
  readonly servicesByHost: ReadonlyMap<string, Service>
  readonly outboundTrafficPolicy: {
    readonly mode: MeshConfig['outboundTrafficPolicy']['mode']
    readonly egressProxy: EgressProxy | null
  }
  /** Some service is headless or of resolution NONE. */
  readonly hasPassthrough: boolean
  /** The rules in scope depend on the client's labels. */
  readonly selectingRules: boolean
  /** The rule that applies to `service` for a client with these labels, or for the server itself (null labels); or null. */
  destinationRule(service: Service, clientLabels: Readonly<Record<string, string>> | null): MergedDestinationRule | null
}

export interface EgressProxy {
  readonly host: string
  readonly subset: string
  readonly port: number
}
