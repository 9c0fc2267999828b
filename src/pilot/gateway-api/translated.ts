// Keeps what Gateway API and Ingress objects mean, as Istio resources that come and go with them.
import { isDeepStrictEqual } from 'node:util'
import { type KubeObject, objectKey, type Store, type StoreEvent } from '../../cluster/index.ts'
import {
  type AnyGatewayApiResource,
  type AnyResource,
  GATEWAY_API_KINDS,
  gatewayApiGroupKind,
  type Ingress,
  isGatewayApiVersion,
  type MeshConfig,
  parseGatewayApi,
  parseIngress,
} from '../../config/index.ts'
import type { ReportProblems } from '../commit.ts'
import { compareText } from '../model/host.ts'
import { resourceKey } from '../model/resource.ts'
import type { RegistryChanges, RegistrySnapshot } from '../registry/snapshot.ts'
import { type ObjectStatus, onlyStatusChanged } from '../status.ts'
import { classDefaults } from './class-defaults.ts'
import { convertGatewayApi } from './convert.ts'
import { convertIngresses, ingressStatuses } from './ingress.ts'
import type { GatewayWorkload } from './workload.ts'

const INGRESS = 'Ingress.networking.k8s.io'
const INGRESS_CLASS = 'IngressClass.networking.k8s.io'

/** Kinds of a store that {@link TranslatedResources} wants to hear of. */
export const TRANSLATED_KINDS: readonly string[] = [
  'Namespace',
  INGRESS,
  INGRESS_CLASS,
  ...GATEWAY_API_KINDS.map(gatewayApiGroupKind),
]

/** What the next translation changes. */
export interface TranslationChanges {
  readonly set: readonly AnyResource[]
  readonly removed: readonly AnyResource[]
  /** What the statuses of all translated objects should say. */
  readonly statuses: readonly ObjectStatus[]
  /** What Gateways are to be given. */
  readonly workloads: readonly GatewayWorkload[]
}

/** What a translation is made from beside the objects themselves. */
export interface TranslationSources {
  readonly mesh: MeshConfig
  readonly domain: string
  readonly registry: Pick<RegistrySnapshot, 'services' | 'endpoints'>
  /** Secrets and ConfigMaps by `Kind/namespace/name`. */
  readonly credentials: ReadonlyMap<string, KubeObject>
}

/** Which of the sources changed. */
export interface SourceChanges extends Pick<RegistryChanges, 'services' | 'endpoints'> {
  readonly credentials: ReadonlySet<string>
}

const NOTHING: ReadonlySet<string> = new Set()

export class TranslatedResources {
  private readonly report: ReportProblems
  private readonly objects = new Map<string, AnyGatewayApiResource>()
  private readonly ingresses = new Map<string, Ingress>()
  /** Controllers of IngressClasses by name. */
  private readonly classes = new Map<string, string>()
  private readonly namespaces = new Map<string, Readonly<Record<string, string>>>()
  private readonly uids = new WeakMap<object, string>()
  private current = new Map<string, AnyResource>()
  private dirty = false
  private grants: ReadonlySet<string> = NOTHING
  private usedCredentials: ReadonlySet<string> = NOTHING
  /** What keys of ConfigMaps with defaults of classes begin with; null: nobody asks for any. */
  private defaultsPrefix: string | null = null
  private usedEndpoints: ReadonlySet<string> = NOTHING

  constructor(report: ReportProblems) {
    this.report = report
  }

  /** See `PushContext.credentialGrants`. */
  get credentialGrants(): ReadonlySet<string> {
    return this.grants
  }

  /** Takes note of one event. Null: not of a kind that is translated; else whether anything may change. */
  apply(event: StoreEvent, store: Pick<Store, 'origin'> | undefined): boolean | null {
    const { type, kind, object } = event
    const deleted = type === 'deleted'
    if (kind === 'Namespace') return this.applyNamespace(object, deleted)
    if (kind === INGRESS_CLASS) return this.applyIngressClass(object, deleted)
    const ingress = kind === INGRESS
    if (!ingress && !isGatewayApiVersion(object.apiVersion)) return null
    if (onlyStatusChanged(event)) return false
    if (ingress) {
      return this.take(this.ingresses, objectKey(object.metadata), object, deleted, () =>
        parseIngress(object, store?.origin(object)),
      )
    }
    return this.take(this.objects, `${object.kind}/${objectKey(object.metadata)}`, object, deleted, () =>
      parseGatewayApi(object, store?.origin(object)),
    )
  }

  /** Makes the next flush translate, whatever changed. */
  retranslate(): void {
    this.dirty = true
  }

  /** Translates anew when something that counts changed. Resources that mean the same keep their identity. */
  flush(sources: TranslationSources, changed: SourceChanges): TranslationChanges | null {
    if (!this.dirty && !this.concerns(changed)) return null
    this.dirty = false
    const { mesh, domain, registry, credentials } = sources
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
      registry,
      uid: (resource) => this.uids.get(resource) ?? '',
      credential: (kind, namespace, name) => credentials.get(`${kind}/${namespace}/${name}`),
      classDefaults: (name) => classDefaults(credentials.values(), mesh.rootNamespace, name),
    })
    this.grants = new Set([
      ...fromGatewayApi.resources.flatMap(grantedCredentials),
      ...[...fromGatewayApi.publicAuthorities].map((name) => `*|${name}`),
    ])
    this.usedCredentials = fromGatewayApi.usedCredentials
    this.defaultsPrefix = this.objects.size > 0 ? `ConfigMap/${mesh.rootNamespace}/` : null
    this.usedEndpoints = fromGatewayApi.usedEndpoints
    const { services } = registry
    const { classes } = this
    const all = [
      ...fromGatewayApi.resources,
      ...convertIngresses({
        ingresses,
        classes,
        mesh,
        domain,
        // A ServiceEntry of the same host has no say.
        portByName: (host, port) =>
          services.byHost
            .get(host)
            ?.find(({ attributes }) => attributes.registry === 'Kubernetes')
            ?.ports.find(({ name }) => name === port)?.port,
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
    return {
      set,
      removed,
      workloads: fromGatewayApi.workloads,
      statuses: [...fromGatewayApi.statuses, ...ingressStatuses({ ingresses, classes, mesh, domain }, services)],
    }
  }

  /** Services matter to all, endpoints and credentials only where the last translation looked at them. */
  private concerns({ services, endpoints, credentials }: SourceChanges): boolean {
    if (services.size > 0 && this.objects.size + this.ingresses.size > 0) return true
    if (meets(this.usedEndpoints, endpoints) || meets(this.usedCredentials, credentials)) return true
    // Any ConfigMap there may be, or have been, the defaults of a class.
    const prefix = this.defaultsPrefix
    return prefix !== null && [...credentials].some((key) => key.startsWith(prefix))
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

  private applyIngressClass({ metadata, spec }: KubeObject, deleted: boolean): boolean {
    const controller = deleted ? undefined : String((spec as { controller?: unknown } | undefined)?.controller ?? '')
    if (this.classes.get(metadata.name) === controller) return false
    if (controller === undefined) this.classes.delete(metadata.name)
    else this.classes.set(metadata.name, controller)
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
      if (object.metadata.uid) this.uids.set(parsed.value, object.metadata.uid)
    }
    this.dirty = true
    return true
  }
}

function meets(wanted: ReadonlySet<string>, changed: ReadonlySet<string>): boolean {
  if (wanted.size === 0) return false
  for (const one of changed) if (wanted.has(one)) return true
  return false
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
