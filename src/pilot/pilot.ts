// Starts a control plane: store → push contexts → xDS, with its HTTP ports.
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { LogScopes } from '../base/log-scopes.ts'
import { buildInfo, VERSION } from '../base/version.ts'
import { MemoryStore, objectKey, type StoreEvent } from '../cluster/index.ts'
import { bearerAuthenticator } from '../security/index.ts'
import { XDS_SERVER_OPTIONS, XdsServer } from '../xds/server.ts'
import { KeySetFetcher } from './authorization/key-sets.ts'
import { AutoRegistration } from './auto-registration.ts'
import type { Changes, Commit } from './commit.ts'
import { type HttpPort, type HttpSources, serveHttp } from './debug/http.ts'
import type { DebugSources } from './debug/pages.ts'
import { SCOPES, serveScopes } from './debug/scopes.ts'
import { answerDebug } from './debug/xds.ts'
import { DiscoveryState } from './discovery-state.ts'
import { MeshSources } from './mesh-sources.ts'
import { missingProviders } from './model/missing-providers.ts'
import type { Pilot, PilotOptions, StatusUpdate } from './options.ts'
import { authenticatorOptions, bind, startSecure, startWebhooks } from './ports.ts'
import { ProblemLog } from './problem-log.ts'
import { Debouncer } from './push/debounce.ts'
import { DiscoveryServer, type Refusal } from './push/discovery-server.ts'
import { PilotMetrics } from './push/metrics.ts'
import { ResourceGenerator } from './push/resources.ts'
import { registerSnapshotMetrics } from './push/snapshot-metrics.ts'
import { GatewayResolver } from './registry/gateway-resolver.ts'
import { mergeStatus, type ObjectStatus } from './status.ts'
import { untranslated } from './untranslated.ts'
import type { WebhookCertificate } from './webhook/server.ts'

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
  /** Serves what was built, from `atMs` (performance.now) on, and tells everybody who follows it. */
  const serve = ({ push, changes, statuses, workloads, faults }: Commit, atMs: number): void => {
    for (const { object, error } of faults) {
      metrics.internalErrors.inc()
      log.error({ err: error, kind: object.kind, object: objectKey(object.metadata) }, 'an object is left as it was')
    }
    discovery.publish(push, changes, atMs)
    for (const type of missingProviders(push)) metrics.missingProviders.inc({ type })
    writeStatuses(options, statuses)
    if (workloads) options.deployGateways?.(workloads)
    if (changes.all || changes.kinds.has('RequestAuthentication')) keySets.follow(push.requestAuthentications)
    if (changes.all || changes.services.size > 0) gateways.follow(state.gatewayHosts())
  }
  const build = (force: boolean): Commit => {
    const endInit = metrics.contextInit.startTimer()
    try {
      return state.commit(force)
    } finally {
      endInit()
    }
  }
  const flush = (): void => {
    const startMs = performance.now()
    const commit = build(forced)
    forced = false
    const first = sinceMs
    sinceMs = 0
    metrics.triggers.inc({ type: triggerOf(commit.changes, reconfigured) })
    reconfigured = null
    metrics.debounceTime.observe((startMs - first) / 1000)
    serve(commit, first)
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
  serve(build(false), performance.now())

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
