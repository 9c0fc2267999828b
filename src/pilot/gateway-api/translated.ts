// Keeps what Gateway API and Ingress objects mean, as Istio resources that come and go with them.
import { isDeepStrictEqual } from 'node:util'
import { groupOf, type KubeObject, objectKey, type Store, type StoreEvent } from '../../cluster/index.ts'
import {
  type AnyGatewayApiResource,
  type AnyResource,
  GATEWAY_API_GROUP,
  GATEWAY_API_KINDS,
  type Ingress,
  type MeshConfig,
  parseGatewayApi,
  parseIngress,
} from '../../config/index.ts'
import type { ReportProblems } from '../discovery-state.ts'
import { compareText } from '../model/host.ts'
import { resourceKey } from '../model/resource.ts'
import type { ServiceIndex } from '../model/service-index.ts'
import { convertGatewayApi } from './convert.ts'
import { convertIngresses } from './ingress.ts'

const INGRESS = 'Ingress.networking.k8s.io'

/** Kinds of a store that {@link TranslatedResources} wants to hear of. */
export const TRANSLATED_KINDS: readonly string[] = [
  'Namespace',
  INGRESS,
  ...GATEWAY_API_KINDS.map((kind) => `${kind}.${GATEWAY_API_GROUP}`),
]

/** What the next translation changes. */
export interface TranslationChanges {
  readonly set: readonly AnyResource[]
  readonly removed: readonly AnyResource[]
}

export class TranslatedResources {
  private readonly report: ReportProblems
  private readonly objects = new Map<string, AnyGatewayApiResource>()
  private readonly ingresses = new Map<string, Ingress>()
  private readonly namespaces = new Map<string, Readonly<Record<string, string>>>()
  private current = new Map<string, AnyResource>()
  private dirty = false
  private grants: ReadonlySet<string> = new Set()

  constructor(report: ReportProblems) {
    this.report = report
  }

  /** See `PushContext.credentialGrants`. */
  get credentialGrants(): ReadonlySet<string> {
    return this.grants
  }

  /** Takes note of one event. Null: not of a kind that is translated; else whether anything may change. */
  apply({ type, kind, object }: StoreEvent, store: Pick<Store, 'origin'> | undefined): boolean | null {
    const deleted = type === 'deleted'
    if (kind === 'Namespace') return this.applyNamespace(object, deleted)
    if (kind === INGRESS) {
      return this.take(this.ingresses, objectKey(object.metadata), object, deleted, () =>
        parseIngress(object, store?.origin(object)),
      )
    }
    if (groupOf(object.apiVersion) !== GATEWAY_API_GROUP) return null
    return this.take(this.objects, `${object.kind}/${objectKey(object.metadata)}`, object, deleted, () =>
      parseGatewayApi(object, store?.origin(object)),
    )
  }

  /**
   * Translates anew when something changed: an object, or (`servicesChanged`) the services that objects refer to.
   * Resources that mean the same keep their identity.
   */
  flush(mesh: MeshConfig, domain: string, services: ServiceIndex, servicesChanged: boolean): TranslationChanges | null {
    if (!this.dirty && !(servicesChanged && this.objects.size + this.ingresses.size > 0)) return null
    this.dirty = false
    const ingresses = [...this.ingresses.values()].sort(
      (a, b) =>
        a.metadata.creationMs - b.metadata.creationMs ||
        compareText(a.metadata.name, b.metadata.name) ||
        compareText(a.metadata.namespace, b.metadata.namespace),
    )
    const next = new Map<string, AnyResource>()
    const set: AnyResource[] = []
    const fromGatewayApi = convertGatewayApi({
      resources: this.objects.values(),
      namespaces: this.namespaces,
      domain,
      serviceExists: (host) => services.byHost.has(host),
    })
    this.grants = new Set(fromGatewayApi.flatMap(grantedCredentials))
    const all = [
      ...fromGatewayApi,
      ...convertIngresses({
        ingresses,
        mesh,
        domain,
        portByName: (host, port) => services.byHost.get(host)?.[0]?.ports.find((p) => p.name === port)?.port,
      }),
    ]
    for (const resource of all) {
      const key = resourceKey(resource)
      const known = this.current.get(key)
      const same = known !== undefined && isDeepStrictEqual(known, resource)
      next.set(key, same ? known : resource)
      if (!same) set.push(resource)
    }
    const removed = [...this.current].filter(([key]) => !next.has(key)).map(([, resource]) => resource)
    this.current = next
    return { set, removed }
  }

  private applyNamespace({ metadata }: KubeObject, deleted: boolean): boolean {
    const labels = metadata.labels ?? {}
    if (deleted) this.namespaces.delete(metadata.name)
    else if (isDeepStrictEqual(this.namespaces.get(metadata.name), labels)) return false
    else this.namespaces.set(metadata.name, labels)
    // Namespaces matter only to listeners that select them.
    if (this.objects.size === 0) return false
    this.dirty = true
    return true
  }

  private take<T>(
    into: Map<string, T>,
    key: string,
    object: KubeObject,
    deleted: boolean,
    parse: () => ReturnType<typeof parseIngress> | ReturnType<typeof parseGatewayApi>,
  ): boolean {
    if (deleted) into.delete(key)
    else {
      const parsed = parse()
      if (!parsed.ok) {
        this.report(object, parsed.problems)
        return false
      }
      into.set(key, parsed.value as T)
    }
    this.dirty = true
    return true
  }
}

/** Credentials that a Gateway names, each of which it was found to be allowed to. */
function grantedCredentials({ kind, metadata, spec }: AnyResource): string[] {
  if (kind !== 'Gateway') return []
  const names = (spec.servers ?? []).flatMap(({ tls }) => [
    ...[tls?.credentialName ?? [], tls?.credentialNames ?? []].flat(),
    ...(tls?.caCertCredentialName ? [tls.caCertCredentialName] : []),
  ])
  return names
    .filter((name) => !name.includes(`://${metadata.namespace}/`))
    .map((name) => `${metadata.namespace}|${name}`)
}
