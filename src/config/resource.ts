import type { Problem } from '../base/errors.ts'
import type { IstioKind, SpecOf } from './kinds.ts'

export interface ResourceMetadata {
  readonly name: string
  /** Istio resources are namespaced; `default` when the object names none. */
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** Milliseconds since the epoch; 0 when unknown. The older resource wins a conflict. */
  readonly creationMs: number
  /** Only of extensions: their agents fetch modules anew for a new version. */
  readonly resourceVersion?: string
}

/** Where a resource was written; lines count from 1. */
export interface ResourceOrigin {
  readonly file: string
  readonly line: number
}

/** A parsed Istio resource: nothing past here checks it again. */
export interface Resource<K extends IstioKind = IstioKind> {
  readonly kind: K
  readonly apiVersion: string
  readonly metadata: ResourceMetadata
  readonly spec: SpecOf<K>
  readonly origin?: ResourceOrigin
  /** What is accepted but probably not meant. */
  readonly warnings: readonly Problem[]
}

export type Gateway = Resource<'Gateway'>
export type VirtualService = Resource<'VirtualService'>
export type DestinationRule = Resource<'DestinationRule'>
export type ServiceEntry = Resource<'ServiceEntry'>
export type WorkloadEntry = Resource<'WorkloadEntry'>
export type WorkloadGroup = Resource<'WorkloadGroup'>
export type Sidecar = Resource<'Sidecar'>
export type EnvoyFilter = Resource<'EnvoyFilter'>
export type ProxyConfigResource = Resource<'ProxyConfig'>
export type PeerAuthentication = Resource<'PeerAuthentication'>
export type RequestAuthentication = Resource<'RequestAuthentication'>
export type AuthorizationPolicy = Resource<'AuthorizationPolicy'>
export type Telemetry = Resource<'Telemetry'>
export type TrafficExtension = Resource<'TrafficExtension'>
export type WasmPlugin = Resource<'WasmPlugin'>

/** Any parsed resource, told apart by `kind`. */
export type AnyResource = { [K in IstioKind]: Resource<K> }[IstioKind]

/** Istio's order of precedence: oldest first, then by name, then by namespace. */
export function compareByAge(a: Resource, b: Resource): number {
  if (a.metadata.creationMs !== b.metadata.creationMs) return a.metadata.creationMs - b.metadata.creationMs
  if (a.metadata.name !== b.metadata.name) return a.metadata.name < b.metadata.name ? -1 : 1
  return a.metadata.namespace < b.metadata.namespace ? -1 : a.metadata.namespace > b.metadata.namespace ? 1 : 0
}
