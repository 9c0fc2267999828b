// What every part of a description reads from objects.

import type { MeshObject } from '../access.ts'
import type { ConfigDump } from '../envoy/config-dump.ts'

/** Between the parts of a description. */
export const RULE = '--------------------\n'

/** The mesh that a description is about. */
export interface DescribedMesh {
  readonly services: readonly MeshObject[]
  readonly pods: readonly MeshObject[]
  readonly destinationRules: readonly MeshObject[]
  readonly virtualServices: readonly MeshObject[]
  readonly gateways: readonly MeshObject[]
  readonly peerAuthentications: readonly MeshObject[]
  /** Where policies hold for the whole mesh. */
  readonly rootNamespace: string
  /** The configuration of a pod's proxy. Throws UserError when it cannot be had. */
  readonly dumpOf: (pod: MeshObject) => Promise<ConfigDump>
}

export type Labels = Readonly<Record<string, string>>
export type Spec = Readonly<Record<string, unknown>>

export function spec(object: MeshObject): Spec {
  return (object.spec ?? {}) as Spec
}

export function items<T = Spec>(value: unknown): readonly T[] {
  return Array.isArray(value) ? (value as T[]) : []
}

export function labelsOf({ metadata }: MeshObject): Labels {
  return metadata.labels ?? {}
}

export function namespaceOf({ metadata }: MeshObject): string {
  return metadata.namespace ?? 'default'
}

/** Whether labels have everything that a selector asks for; a selector that asks for nothing takes everything. */
export function matches(selector: unknown, labels: Labels): boolean {
  return Object.entries((selector ?? {}) as Labels).every(([key, value]) => labels[key] === value)
}

/** Whether a Service selects pods with these labels; one without a selector selects none. */
export function selects(service: MeshObject, labels: Labels): boolean {
  const { selector } = spec(service)
  return Object.keys((selector ?? {}) as Labels).length > 0 && matches(selector, labels)
}

/** The object of this name, where there is one. */
export function named(list: readonly MeshObject[], name: string, namespace: string): MeshObject | undefined {
  return list.find((object) => object.metadata.name === name && namespaceOf(object) === namespace)
}

export interface Container {
  readonly name: string
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number; readonly protocol?: string }[]
  readonly restartPolicy?: string
  readonly securityContext?: { readonly runAsUser?: number }
}

export function containersOf(pod: MeshObject): readonly Container[] {
  return items<Container>(spec(pod).containers)
}

export function initContainersOf(pod: MeshObject): readonly Container[] {
  return items<Container>(spec(pod).initContainers)
}

export interface PodState {
  readonly phase?: string
  readonly hostIP?: string
  readonly containerStatuses?: readonly { readonly name: string; readonly ready?: boolean }[]
  readonly initContainerStatuses?: readonly { readonly name: string; readonly ready?: boolean }[]
}

export function stateOf(pod: MeshObject): PodState {
  return (pod.status ?? {}) as PodState
}
