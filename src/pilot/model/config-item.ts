// Istio resources as the push context holds them: parsed spec plus what ordering, scoping and `explain` need.
import type { Origin } from '../../cluster/index.ts'
import { compareText } from './host.ts'

/** One Istio resource. `spec` has passed src/config: nothing past this line re-checks it. */
export interface ConfigItem<Spec = unknown> {
  readonly kind: string
  /** As written, e.g. `networking.istio.io/v1`. */
  readonly apiVersion: string
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** Milliseconds since the epoch. */
  readonly creationMs: number
  /** Changes with every change of the resource: part of cache keys. */
  readonly version: string
  readonly spec: Spec
  readonly origin?: Origin
}

/** `Kind/namespace/name`: names a resource in dependency sets and cache keys. */
export function configKey(item: Pick<ConfigItem, 'kind' | 'namespace' | 'name'>): string {
  return `${item.kind}/${item.namespace}/${item.name}`
}

/** Istio's precedence: oldest first, then by name, then by namespace. */
export function compareConfig(a: ConfigItem, b: ConfigItem): number {
  return a.creationMs - b.creationMs || compareText(a.name, b.name) || compareText(a.namespace, b.namespace)
}

/** `/apis/networking.istio.io/v1/namespaces/ns/virtual-service/name`: Istio's metadata of what a resource came from. */
export function configPath(item: ConfigItem): string {
  const kebab = item.kind.replace(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase()
  return `/apis/${item.apiVersion}/namespaces/${item.namespace}/${kebab}/${item.name}`
}
