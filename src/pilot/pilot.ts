// Starts a control plane: store → push contexts → xDS, with its HTTP ports.
import { X509Certificate } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import type { JsonValue } from '@bufbuild/protobuf'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { type Problem, UserError } from '../base/errors.ts'
import { LogScopes } from '../base/log-scopes.ts'
import type { Logger } from '../base/logger.ts'
import { buildInfo, VERSION } from '../base/version.ts'
import { type GroupKind, MemoryStore, objectKey, type Store, type StoreEvent } from '../cluster/index.ts'
import type { MeshConfig, MeshNetworks } from '../config/index.ts'
import {
  type AuthenticatorOptions,
  bearerAuthenticator,
  type CertificateAuthority,
  createAuthenticator,
  createServerCredentials,
  mountCertificateService,
  type TokenVerifier,
} from '../security/index.ts'
import { XDS_SERVER_OPTIONS, XdsServer } from '../xds/server.ts'
import { KeySetFetcher } from './authorization/key-sets.ts'
import { AutoRegistration } from './auto-registration.ts'
import { type HttpPort, type HttpSources, serveHttp, splitAddress } from './debug/http.ts'
import type { DebugSources } from './debug/pages.ts'
import { SCOPES, serveScopes } from './debug/scopes.ts'
import { answerDebug } from './debug/xds.ts'
import { type Changes, DiscoveryState, type ReportProblems } from './discovery-state.ts'
import type { GatewayWorkload } from './gateway-api/workload.ts'
import { type MeshSourceOptions, MeshSources } from './mesh-sources.ts'
import { missingProviders } from './model/missing-providers.ts'
import type { Remark } from './model/remarks.ts'
import { Debouncer } from './push/debounce.ts'
import { DiscoveryServer, type Refusal } from './push/discovery-server.ts'
import { PilotMetrics } from './push/metrics.ts'
import { ResourceGenerator } from './push/resources.ts'
import { registerSnapshotMetrics } from './push/snapshot-metrics.ts'
import { GatewayResolver } from './registry/gateway-resolver.ts'
import { mergeStatus, type ObjectStatus } from './status.ts'
import { untranslated } from './untranslated.ts'
import type { InjectPod } from './webhook/review.ts'
import { serveWebhooks, type WebhookCertificate, type WebhookPort } from './webhook/server.ts'

/** xDS and certificates over TLS (15012). */
export interface SecureGrpcOptions {
  readonly address: string
  readonly ca: CertificateAuthority
  readonly tokens: TokenVerifier
  /** DNS names and addresses of the server certificate, e.g. `istiod.istio-system.svc`. */
  readonly serverNames: readonly string[]
}

/** Names by which agents dial the control plane; its server certificate has them. */
export const ISTIOD_NAMES: readonly string[] = [
  'istiod.istio-system.svc',
  'istiod.istio-system.svc.cluster.local',
  'istiod.istio-system',
  'istiod',
]

/** The webhooks that the API server calls (15017). */
export interface WebhookSettings {
  readonly address: string
  /** Left out: one of the certificate authority of `secureGrpc`, renewed with its own. */
  readonly certificate?: WebhookCertificate
  /** What becomes of a pod; left out: pods are not injected. */
  readonly inject?: InjectPod
}

/** A new `status` of an object of the store. */
export interface StatusUpdate {
  readonly kind: GroupKind
  readonly namespace?: string
  readonly name: string
  readonly status: unknown
}

export interface PilotOptions {
  readonly store: Store
  /** Writes statuses back to the store; left out: none are written. */
  readonly writeStatuses?: (updates: readonly StatusUpdate[]) => void
  /**
   * Keeps there what Gateways without Services of their own are to be given; called with all of it whenever it may have
   * changed. Left out: Gateways have the workloads that somebody deploys.
   */
  readonly deployGateways?: (workloads: readonly GatewayWorkload[]) => void
  /** Settings below those of `meshSources`; Istio's defaults when left out. */
  readonly meshConfig?: MeshConfig
  /** Left out: one network. */
  readonly meshNetworks?: MeshNetworks
  /** Where the mesh's settings come from; left out: the ConfigMap `istio` of the store. */
  readonly meshSources?: Pick<
    MeshSourceOptions,
    'meshConfigFile' | 'networksConfigFile' | 'revision' | 'sharedMeshConfig'
  >
  readonly log: Logger
  /** Plaintext xDS, `host:port`; port 0 takes a free one. */
  readonly grpcAddr: string
  readonly secureGrpc?: SecureGrpcOptions
  readonly webhooks?: WebhookSettings
  /** Debug pages and `/ready`; left out: none. */
  readonly httpAddr?: string
  /** Metrics, and the same pages; left out: none. */
  readonly monitoringAddr?: string
  /** Log scopes and their levels, `/scopej`; left out: none. */
  readonly ctrlzAddr?: string
  /** Default `cluster.local`. */
  readonly domain?: string
  /** Default `Kubernetes`. */
  readonly clusterId?: string
  /** The debug page force_disconnect exists, as with istiod's UNSAFE_ENABLE_ADMIN_ENDPOINTS. */
  readonly unsafeAdmin?: boolean
  /** Name of this instance in answers to istioctl, the pod's on Kubernetes; default: the host's name. */
  readonly instance?: string
  /** Version shown by /version and pilot_info; that of this package when left out. */
  readonly version?: string
}

/** A running control plane. */
export interface Pilot {
  /** Addresses as bound. */
  readonly addresses: {
    readonly grpc: string
    readonly secureGrpc?: string
    readonly http?: string
    readonly monitoring?: string
    readonly webhooks?: string
    readonly ctrlz?: string
  }
  /** In force at the moment. */
  meshConfig(): MeshConfig
  /** Waits until every proxy has answered what is known now, at most `limitMs`; says what proxies refuse. */
  settled(limitMs: number): Promise<readonly Refusal[]>
  /** Ends all streams and ports. */
  stop(): Promise<void>
}

/** Renewed when a third of the server certificate's life is left. */
const RENEW_SHARE = 2 / 3
/** How often it is looked whether proxies have answered. */
const SETTLE_POLL_MS = 10

/** Starts serving. Throws UserError when an address cannot be had. */
export async function startPilot(options: PilotOptions): Promise<Pilot> {
  const { store } = options
  const scopes = new LogScopes(options.log)
  const scoped = (name: keyof typeof SCOPES) => scopes.register(name, SCOPES[name])
  const log = scoped('default')
  const version = options.version ?? VERSION
  const metrics = new PilotMetrics()
  metrics.info.set({ version }, 1)
  metrics.build.set({ component: 'pilot', tag: version }, 1)
  metrics.managedClusters.set({ cluster_type: 'local' }, 1)
  metrics.managedClusters.set({ cluster_type: 'remote' }, 0)
  const generator = new ResourceGenerator({ isolate: true })
  const registration =
    store instanceof MemoryStore
      ? new AutoRegistration({ store, log: scoped('ads'), controller: hostname(), metrics: metrics.registrations })
      : undefined
  const identifier = { Component: 'istiod', ID: options.instance ?? hostname(), Info: buildInfo(version) }
  const debugXds = {
    sources: (): DebugSources => sources,
    systemNamespace: () => settings.mesh.rootNamespace,
    controlPlane: JSON.stringify(identifier),
  }
  const discovery = new DiscoveryServer({
    generator,
    metrics,
    log: scoped('ads'),
    registration,
    debug: (connection, typeUrl, names) => answerDebug(connection, typeUrl, names, debugXds),
  })
  const caches = {
    cds: generator.clusters,
    eds: generator.assignments,
    lds: generator.listeners,
    rds: generator.routes,
  }
  registerSnapshotMetrics(metrics.registry, {
    store,
    pushContext: () => discovery.pushContext,
    caches,
    remarks: generator.remarks,
  })
  const status = new ProblemLog(scoped('model'), metrics)
  let reconfigured: Reconfigured | null = null
  const settings = new MeshSources({
    ...options.meshSources,
    store,
    base: options.meshConfig,
    baseNetworks: options.meshNetworks,
    report: status.reportSettings,
    changed: (what) => {
      log.info(what === 'mesh' ? 'MeshConfig changed' : 'MeshNetworks changed')
      reconfigured = what
      state.configure(settings.mesh, settings.networks, store)
      gateways.follow(state.gatewayHosts())
      changed()
    },
  })
  const state = new DiscoveryState({
    mesh: settings.mesh,
    meshNetworks: settings.networks,
    domain: options.domain ?? 'cluster.local',
    clusterId: options.clusterId ?? 'Kubernetes',
    report: status.report,
    untranslated,
  })
  let sinceMs = 0
  let forced = false
  const flush = (): void => {
    const startMs = performance.now()
    const endInit = metrics.contextInit.startTimer()
    const { push, changes, statuses, workloads } = state.commit(forced)
    endInit()
    forced = false
    const first = sinceMs
    sinceMs = 0
    metrics.triggers.inc({ type: triggerOf(changes, reconfigured) })
    reconfigured = null
    metrics.debounceTime.observe((startMs - first) / 1000)
    discovery.publish(push, changes, first)
    for (const type of missingProviders(push)) metrics.missingProviders.inc({ type })
    writeStatuses(options, statuses)
    if (workloads) options.deployGateways?.(workloads)
    if (changes.kinds.has('RequestAuthentication')) keySets.follow(push.requestAuthentications)
    if (changes.services.size > 0) gateways.follow(state.gatewayHosts())
  }
  const debouncer = new Debouncer(() => {
    try {
      flush()
    } catch (error) {
      // A fault of ours must not end the control plane: the last good configuration keeps serving.
      metrics.internalErrors.inc()
      log.error({ err: error }, 'configuration could not be built; the last one stays')
    }
  })
  const changed = (): void => {
    if (sinceMs === 0) sinceMs = performance.now()
    debouncer.trigger()
  }
  const unwatch = store.watch((events: readonly StoreEvent[]) => {
    status.forget(events)
    for (const event of events) metrics.stored(event, store)
    settings.stored(events)
    if (state.apply(events, store)) changed()
  })
  const fetches = { fetched: metrics.keySetsFetched, failed: metrics.keySetsFailed }
  const keySets = new KeySetFetcher(log, fetches, (fetched) => {
    state.setKeySets(fetched)
    changed()
  })
  const gateways = new GatewayResolver(log, (addresses) => {
    state.setGatewayAddresses(addresses)
    changed()
  })
  const settled = async (limitMs: number): Promise<readonly Refusal[]> => {
    const deadlineMs = performance.now() + limitMs
    while ((sinceMs !== 0 || !discovery.settled) && performance.now() < deadlineMs) await delay(SETTLE_POLL_MS)
    return discovery.refusals()
  }
  for (const event of state.load(store)) metrics.stored(event, store)
  const endInit = metrics.contextInit.startTimer()
  const initial = state.commit()
  endInit()
  keySets.follow(initial.push.requestAuthentications)
  gateways.follow(state.gatewayHosts())
  discovery.publish(initial.push, initial.changes, performance.now())
  for (const type of missingProviders(initial.push)) metrics.missingProviders.inc({ type })
  writeStatuses(options, initial.statuses)
  if (initial.workloads) options.deployGateways?.(initial.workloads)

  const sources: DebugSources = {
    store,
    discovery,
    generator,
    metrics,
    log,
    version,
    caches,
    pushStatus: () => status.json(generator.remarks),
    forcePush: () => {
      forced = true
      changed()
      return [...discovery.connected()].length
    },
    inject: options.webhooks?.inject,
    unsafeAdmin: options.unsafeAdmin ?? false,
  }
  const pages: HttpSources = {
    ...sources,
    systemNamespace: debugXds.systemNamespace,
    ...(options.secureGrpc && {
      authenticate: bearerAuthenticator(authenticatorOptions(options.secureGrpc, settings)),
    }),
  }
  const xds = new XdsServer({
    handler: discovery,
    log: scoped('ads'),
    controlPlane: 'outrigger-pilot',
    received: (bytes) => metrics.received(bytes),
  })
  const closing: (() => Promise<void> | void)[] = [
    unwatch,
    () => settings.close(),
    () => debouncer.stop(),
    () => keySets.close(),
    () => gateways.close(),
    () => registration?.close(),
    () => xds.close(),
  ]
  const stop = async (): Promise<void> => {
    for (const close of closing.splice(0)) await close()
  }
  try {
    const plain = new Server(XDS_SERVER_OPTIONS)
    xds.mount(plain)
    const grpc = await bind(plain, options.grpcAddr, ServerCredentials.createInsecure())
    closing.push(() => plain.forceShutdown())
    const renewals: ((certificate: WebhookCertificate) => void)[] = []
    const secure =
      options.secureGrpc &&
      (await startSecure(options.secureGrpc, xds, metrics, settings, scoped('serverca'), renewals, closing))
    const secureGrpc = secure?.address
    const webhooks =
      options.webhooks &&
      (await startWebhooks({ ...options, log: scoped('validationServer') }, secure?.certificate, metrics, renewals))
    if (webhooks) closing.push(() => webhooks.close())
    const http = options.httpAddr === undefined ? undefined : await serveHttp(options.httpAddr, pages)
    if (http) closing.push(() => http.close())
    const monitoring: HttpPort | undefined =
      options.monitoringAddr === undefined ? undefined : await serveHttp(options.monitoringAddr, pages)
    if (monitoring) closing.push(() => monitoring.close())
    const ctrlz = options.ctrlzAddr === undefined ? undefined : await serveScopes(options.ctrlzAddr, scopes)
    if (ctrlz) closing.push(() => ctrlz.close())
    const addresses = { grpc, secureGrpc, http: http?.address, monitoring: monitoring?.address }
    return {
      addresses: { ...addresses, webhooks: webhooks?.address, ctrlz: ctrlz?.address },
      meshConfig: () => settings.mesh,
      settled,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Writes what statuses should say and do not yet. */
function writeStatuses({ store, writeStatuses: write }: PilotOptions, statuses: readonly ObjectStatus[]): void {
  if (!write || statuses.length === 0) return
  const now = new Date().toISOString()
  const updates = statuses.flatMap(({ kind, namespace, name, status }): StatusUpdate[] => {
    const object = store.get(kind, namespace, name)
    const next = object && mergeStatus(object, status, now)
    return next ? [{ kind, namespace, name, status: next }] : []
  })
  if (updates.length > 0) write(updates)
}

async function startWebhooks(
  { webhooks, log }: PilotOptions,
  issued: WebhookCertificate | undefined,
  metrics: PilotMetrics,
  renewals: ((certificate: WebhookCertificate) => void)[],
): Promise<WebhookPort> {
  const { address, certificate = issued, inject } = webhooks!
  if (!certificate) throw new UserError('webhooks need a certificate: there is no certificate authority to issue one')
  const port = await serveWebhooks({ address, certificate, inject, log, metrics })
  if (!webhooks!.certificate) renewals.push((next) => port.renew(next))
  return port
}

function authenticatorOptions({ tokens }: SecureGrpcOptions, settings: MeshSources): AuthenticatorOptions {
  return {
    tokens,
    get trustDomain() {
      return settings.mesh.trustDomain
    },
  }
}

/** istiod's description of a build, as far as there is one. */
/** `renewals` are told of every new certificate. */
async function startSecure(
  secure: SecureGrpcOptions,
  xds: XdsServer,
  metrics: PilotMetrics,
  settings: MeshSources,
  log: Logger,
  renewals: readonly ((certificate: WebhookCertificate) => void)[],
  closing: (() => Promise<void> | void)[],
): Promise<{ address: string; certificate: WebhookCertificate }> {
  const { ca, serverNames } = secure
  const authenticate = createAuthenticator(authenticatorOptions(secure, settings))
  const certificate = await ca.issueServerCertificate([...serverNames])
  const tls = createServerCredentials(certificate, ca.rootPem)
  const server = new Server(XDS_SERVER_OPTIONS)
  xds.mount(server, 'ads', authenticate)
  mountCertificateService(server, { ca, authenticate, log, observe: (outcome) => metrics.certificate(outcome) })
  metrics.authorityExpires(new Date(new X509Certificate(ca.rootPem).validTo))
  const address = await bind(server, secure.address, tls.credentials)
  let timer: NodeJS.Timeout
  const renewAt = (notAfter: Date): void => {
    const delayMs = Math.min(Math.max((notAfter.getTime() - Date.now()) * RENEW_SHARE, 1000), 2 ** 31 - 1)
    timer = setTimeout(() => {
      ca.issueServerCertificate([...serverNames]).then(
        (next) => {
          tls.renew(next)
          for (const renew of renewals) renew(next)
          renewAt(next.notAfter)
        },
        (error: unknown) => {
          log.error({ err: error }, 'server certificate could not be renewed; trying again in a minute')
          renewAt(new Date(Date.now() + 60_000 / RENEW_SHARE))
        },
      )
    }, delayMs)
    timer.unref()
  }
  renewAt(certificate.notAfter)
  closing.push(() => {
    clearTimeout(timer)
    server.forceShutdown()
  })
  return { address, certificate }
}

/** Settings of the mesh that changed. */
type Reconfigured = 'mesh' | 'networks'

/** istiod's word for what a push is for. */
function triggerOf(changes: Changes, reconfigured: Reconfigured | null): string {
  if (reconfigured) return reconfigured === 'mesh' ? 'global' : 'networks'
  if (changes.all) return 'debugtrigger'
  if (changes.resources.size > 0) return 'config'
  if (changes.services.size > 0) return 'service'
  return changes.credentials.size > 0 ? 'secret' : 'endpoint'
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<string> {
  const { host, port } = splitAddress(address)
  const target = host.includes(':') ? `[${host}]` : host
  return new Promise((resolve, reject) => {
    server.bindAsync(`${target}:${port}`, credentials, (error, bound) => {
      if (error) reject(new UserError(`cannot listen on ${address}: ${error.message}`, 1, { cause: error }))
      else resolve(`${target}:${bound}`)
    })
  })
}

/** What is wrong with resources: logged once when it appears, shown on /debug/push_status while it lasts. */
class ProblemLog {
  private readonly log: Logger
  private readonly metrics: PilotMetrics
  private readonly standing = new Map<string, { message: string; level: string }>()

  constructor(log: Logger, metrics: PilotMetrics) {
    this.log = log
    this.metrics = metrics
  }

  readonly report: ReportProblems = (object, problems) => {
    const name = `${object.kind} ${objectKey(object.metadata)}`
    for (const { path, message, hint, level } of problems) {
      const line = `${name}: ${path ? `${path} ` : ''}${message}${hint ? ` (${hint})` : ''}`
      this.standing.set(`${name} ${path}`, { message: line, level })
      if (level === 'error') {
        this.metrics.rejectedConfigs.inc({ kind: object.kind })
        this.log.error(`${line}; its last good version stays`)
      } else this.log.warn(line)
    }
  }

  /** What is to be said of a place that settings of the mesh come from, instead of what was said before. */
  readonly reportSettings = (source: string, problems: readonly Problem[]): void => {
    const before = new Map(this.standing)
    const prefix = `${source} `
    for (const key of before.keys()) if (key.startsWith(prefix)) this.standing.delete(key)
    for (const { path, message, hint, level } of problems) {
      const line = `${source}: ${path ? `${path} ` : ''}${message}${hint ? ` (${hint})` : ''}`
      const key = `${prefix}${path}`
      this.standing.set(key, { message: line, level })
      if (before.get(key)?.message === line) continue
      if (level === 'error') this.log.error(`${line}; the last good settings stay`)
      else this.log.warn(line)
    }
  }

  /** A changed object is judged anew. */
  forget(events: readonly StoreEvent[]): void {
    if (this.standing.size === 0) return
    for (const { object } of events) {
      const prefix = `${object.kind} ${objectKey(object.metadata)} `
      for (const key of this.standing.keys()) if (key.startsWith(prefix)) this.standing.delete(key)
    }
  }

  json(remarks: Iterable<Remark & { readonly proxy: string }>): JsonValue {
    const out: { [metric: string]: { [key: string]: JsonValue } } = {}
    for (const [key, { message, level }] of this.standing) {
      const metric = level === 'error' ? 'pilot_total_rejected_configs' : 'pilot_config_warnings'
      out[metric] ??= {}
      out[metric]![key] = { proxy: '', message }
    }
    for (const { metric, key, proxy, message } of remarks) {
      out[metric] ??= {}
      out[metric]![key] = { proxy, message }
    }
    return out
  }
}
