// Starts a data plane: bootstrap → workers → static resources → admin → dynamic resources (envoy-contract §1.3).

import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ApiConfigSource, ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError, errorText, UserError } from '../../base/errors.ts'
import { keepMallocTrimmed } from '../../base/malloc-trim.ts'
import { releaseStartupMemory } from '../../base/startup-memory.ts'
import { growYoungGenerationWhenBusy } from '../../base/young-generation.ts'
import { AdsClient, CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/index.ts'
import { type AdminServer, startAdmin } from '../admin/server.ts'
import type { ServerState } from '../admin/source.ts'
import { parseAddress } from '../config/address.ts'
import type { ExtensionRegistry } from '../config/extension-registry.ts'
import { registerExtensions } from '../filters/register.ts'
import { pipePath } from '../network/address.ts'
import { sharedCount } from '../network/connection-limits.ts'
import { createOverloadMemory } from '../network/overload-state.ts'
import { Loggers, levelWord } from '../observe/loggers.ts'
import { MergedStats } from '../observe/merged-stats.ts'
import { compileStatsFilter, parseStatsConfig, type StatsSettings } from '../observe/stats-settings.ts'
import { StatsStore } from '../observe/stats-store.ts'
import { createAdminSource } from './admin-source.ts'
import { adsFeed, describeNode, fileFeed, followAll, type ResourceFeed, subscribeNamed } from './ads.ts'
import { adsStats } from './ads-stats.ts'
import { refuseUnsupportedBootstrap } from './bootstrap-fields.ts'
import { ClusterResources } from './clusters.ts'
import { drainListeners } from './drain.ts'
import { ExtensionResources } from './extensions.ts'
import { FileSources, filePath } from './file-source.ts'
import { findStatic, grpcTransport, isDelta } from './grpc-transport.ts'
import { ListenerResources } from './listeners.ts'
import type { Proxy as ProxyHandle, ProxyOptions } from './options.ts'
import { parseOverloadManager } from './overload/config.ts'
import { OverloadManager } from './overload/manager.ts'
import { fetchTimeoutMs, staticResource, UnknownFields } from './resource.ts'
import { RouteResources } from './routes.ts'
import { mergeRuntime, parseRuntimeLayers, type RuntimeLayer } from './runtime.ts'
import { createSdsSubscribe, type SdsClusters } from './sds.ts'
import { SecretResources } from './secrets.ts'
import { ServerStats } from './server-stats.ts'
import { SubscriptionStats } from './subscription-stats.ts'
import { Warming } from './warming.ts'
import { parseWatchdogs, type WatchdogsData } from './watchdog.ts'
import { startWorkers, type Workers } from './workers.ts'

/** Everything of a running proxy that its parts share. */
export interface ServerContext {
  readonly options: ProxyOptions
  readonly loggers: Loggers
  readonly registry: ExtensionRegistry
  readonly workers: Workers
  readonly warming: Warming
  readonly secrets: SecretResources
  readonly clusters: ClusterResources
  readonly routes: RouteResources
  readonly extensions: ExtensionResources
  readonly listeners: ListenerResources
  readonly files: FileSources
  readonly statsSettings: StatsSettings
  /** The main thread's own. */
  readonly store: StatsStore
  readonly merged: MergedStats
  readonly runtimeLayers: RuntimeLayer[]
  readonly watchdogs: WatchdogsData
  /** null = the bootstrap has none. */
  readonly overloadManager: OverloadManager | null
  readonly startTime: Date
  state: ServerState
  healthCheckFailing: boolean
}

/**
 * Starts a proxy. Resolves when static resources serve and the admin answers; dynamic ones follow (state INITIALIZING,
 * then LIVE). Rejects with UserError for a bootstrap that cannot be served.
 */
export async function startProxy(options: ProxyOptions): Promise<ProxyHandle> {
  const { log } = options
  let context: ServerContext | null = null
  const open: OpenParts = { ads: null, stats: null, admin: null }
  try {
    context = await createContext(options)
    const ads = createAds(context)
    open.ads = ads
    if (ads !== null) subscribeNamed(ads, context)
    await addStaticClusters(context)
    let server: RunningProxy | null = null
    const stats = new ServerStats(context)
    open.stats = stats
    const admin = await startAdminListener(context, stats, () => void server?.stop().then(() => options.onExit?.(0)))
    open.admin = admin
    await context.clusters.firstServe()
    await addStaticListeners(context)
    server = new RunningProxy(context, stats, ads, admin)
    server.beginDynamic()
    return server
  } catch (error) {
    // What stays open would keep the process alive. The first error is the one to tell.
    if (context !== null) await closeParts(context, open).catch(() => {})
    if (error instanceof UserError) throw error
    log.fatal(`error initializing configuration '${options.configPath}': ${errorText(error)}`)
    throw new UserError(`error initializing configuration '${options.configPath}': ${errorText(error)}`, 1, {
      cause: error,
    })
  }
}

/** What a proxy has opened besides its context; null = not yet. */
interface OpenParts {
  ads: AdsClient | null
  stats: ServerStats | null
  admin: AdminServer | null
}

async function closeParts(context: ServerContext, { ads, stats, admin }: OpenParts): Promise<void> {
  ads?.close()
  stats?.close()
  context.overloadManager?.close()
  context.warming.close()
  context.files.close()
  context.secrets.close()
  await admin?.close()
  await context.workers.close()
}

async function createContext(options: ProxyOptions): Promise<ServerContext> {
  const { bootstrap, log } = options
  refuseUnsupportedBootstrap(bootstrap)
  const registry = registerExtensions()
  registry.defaultTracer = bootstrap.tracing?.http
  const statsSettings = parseStatsConfig(bootstrap.statsConfig)
  const watchdogs = parseWatchdogs(bootstrap)
  const runtimeLayers = parseRuntimeLayers(bootstrap)
  const store = new StatsStore(compileStatsFilter(statsSettings))
  const overload = bootstrap.overloadManager ? parseOverloadManager(bootstrap.overloadManager) : null
  const overloadMemory = overload && createOverloadMemory()
  const openConnections = sharedCount()
  const connectionLimit = overload?.monitors.find((monitor) => monitor.kind === 'downstream_connections')
  const workers = await startWorkers(
    {
      concurrency: options.concurrency,
      node: {
        id: bootstrap.node?.id ?? '',
        cluster: bootstrap.node?.cluster ?? '',
        region: bootstrap.node?.locality?.region ?? '',
        zone: bootstrap.node?.locality?.zone ?? '',
        subZone: bootstrap.node?.locality?.subZone ?? '',
        metadata: bootstrap.node?.metadata ?? {},
      },
      localClusterName: bootstrap.clusterManager?.localClusterName ?? '',
      logLevel: levelWord(log),
      drainTimeMs: options.drainTimeS * 1000,
      drainImmediate: options.drainStrategy === 'immediate',
      fileFlushIntervalMs: options.fileFlushIntervalMs,
      fileFlushMinBytes: options.fileFlushMinSizeKb * 1024,
      stats: statsSettings,
      runtime: mergeRuntime(runtimeLayers),
      openConnections,
      overload: overloadMemory,
      maxDownstreamConnections: connectionLimit?.max ?? null,
      watchdog: watchdogs.worker,
    },
    (error) => {
      log.fatal({ reason: errorText(error) }, 'a worker is lost; the process ends')
      options.onExit?.(1)
    },
  )
  const loggers = new Loggers(log)
  const setAccepting = (accepting: boolean): void => {
    workers
      .apply({ kind: 'accept-connections', accepting })
      .catch((error: unknown) => log.error({ reason: errorText(error) }, 'stop_accepting_connections failed'))
  }
  const overloadManager =
    overload && overloadMemory && new OverloadManager(overload, overloadMemory, openConnections, store, setAccepting)
  const warming = new Warming()
  const files = new FileSources(loggers.of('config'))
  const unknown = new UnknownFields(options.rejectUnknownDynamicFields, store, loggers.of('misc'))
  const fromBootstrap = findStatic(bootstrap)
  const sdsClusters: SdsClusters = {
    // One of the bootstrap may be asked before its turn to be added has come.
    find: (name) => clusters.forGrpc(name) ?? fromBootstrap(name),
    onChange: (callback) => clusters.onChange(callback),
  }
  const secrets = new SecretResources(
    workers,
    warming,
    loggers.of('secret'),
    store,
    options.secrets,
    createSdsSubscribe(sdsClusters, () => describeNode(bootstrap.node, registry), files, loggers.of('secret'), store),
  )
  const clusters = new ClusterResources(
    registry,
    workers,
    warming,
    secrets,
    files,
    unknown,
    loggers.of('upstream'),
    store,
  )
  const extensions = new ExtensionResources(registry, workers, warming, files, unknown, store)
  const routes = new RouteResources(registry, workers, warming, files, unknown, store)
  return {
    options,
    loggers,
    registry,
    workers,
    warming,
    secrets,
    clusters,
    routes,
    extensions,
    files,
    listeners: new ListenerResources(
      registry,
      workers,
      warming,
      secrets,
      routes,
      extensions,
      (name) => clusters.knows(name),
      unknown,
      loggers.of('config'),
      store,
    ),
    statsSettings,
    store,
    merged: new MergedStats(),
    runtimeLayers,
    watchdogs,
    overloadManager,
    startTime: new Date(),
    state: 'PRE_INITIALIZING',
    healthCheckFailing: false,
  }
}

/** One refused resource of the bootstrap, with the path of it. */
async function located(path: string, work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    const at = error instanceof ConfigError && error.path !== '' ? `${path}.${error.path}` : path
    const reason =
      error instanceof ConfigError && error.path !== '' ? error.message.slice(error.path.length + 2) : errorText(error)
    throw new ConfigError(at, reason, { cause: error })
  }
}

async function addStaticClusters({ options, secrets, clusters }: ServerContext): Promise<void> {
  const resources = options.bootstrap.staticResources
  for (const [i, secret] of (resources?.secrets ?? []).entries()) {
    await located(
      `static_resources.secrets[${i}]`,
      secrets.addStatic(staticResource(SecretSchema, secret.name, secret)),
    )
  }
  for (const [i, cluster] of (resources?.clusters ?? []).entries()) {
    const resource = staticResource(ClusterSchema, cluster.name, cluster)
    await located(`static_resources.clusters[${i}]`, clusters.addStatic(resource))
  }
}

async function addStaticListeners({ options, listeners }: ServerContext): Promise<void> {
  for (const [i, listener] of (options.bootstrap.staticResources?.listeners ?? []).entries()) {
    const name = listener.name || `static-listener-${i}`
    const resource = staticResource(ListenerSchema, name, { ...listener, name })
    await located(`static_resources.listeners[${i}]`, listeners.addStatic(resource))
  }
}

/** null = the bootstrap has no admin address. */
function startAdminListener(context: ServerContext, stats: ServerStats, quit: () => void): Promise<AdminServer> | null {
  const { admin } = context.options.bootstrap
  if (!admin?.address) return null
  const address = parseAddress(admin.address, 'admin.address')
  return startAdmin(
    address.pipe === undefined ? { host: address.ip, port: address.port } : { path: pipePath(address.pipe) },
    createAdminSource(context, stats, quit),
    context.loggers.of('admin'),
    context.store,
  )
}

/** null = nothing is asked of a management server. Throws ConfigError. */
function createAds(context: ServerContext): AdsClient | null {
  const { options, registry, store } = context
  const dynamic = options.bootstrap.dynamicResources
  if (!dynamic?.adsConfig && options.adsTransport === undefined) {
    return null
  }
  const source = dynamic?.adsConfig
  const node = describeNode(options.bootstrap.node, registry)
  if (node.id === '' || node.cluster === '') {
    throw new ConfigError(
      'node',
      "node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and --service-cluster options.",
    )
  }
  return new AdsClient({
    transport:
      options.adsTransport ??
      grpcTransport(source as ApiConfigSource, findStatic(options.bootstrap), 'dynamic_resources.ads_config', 'needed'),
    node,
    mode: isDelta(source) ? 'delta' : 'sotw',
    log: context.loggers.of('config'),
    nodeOnFirstMessageOnly: source?.setNodeOnFirstMessageOnly ?? false,
    stats: adsStats(
      store,
      {
        cds: dynamic?.cdsConfig?.configSourceSpecifier.case === 'ads',
        lds: dynamic?.ldsConfig?.configSourceSpecifier.case === 'ads',
      },
      new Map([
        [EDS_TYPE, context.clusters.subscriptions],
        [RDS_TYPE, context.routes.subscriptions],
        [SDS_TYPE, context.secrets.subscriptions],
        [ECDS_TYPE, context.extensions.subscriptions],
      ]),
    ),
  })
}

/** null = the bootstrap does not ask for the type. Throws ConfigError. */
function feedOf(
  context: ServerContext,
  ads: AdsClient | null,
  typeUrl: string,
  scope: string,
  source: ConfigSource | undefined,
  path: string,
): ResourceFeed | null {
  if (source === undefined) return null
  const file = filePath(source)
  if (file !== null) return fileFeed(context.files, typeUrl, file, new SubscriptionStats(context.store.scope(scope)))
  if (source.configSourceSpecifier.case !== 'ads' || ads === null) {
    throw new ConfigError(path, 'only ads (with ads_config) and path_config_source are supported by this proxy')
  }
  return adsFeed(ads, typeUrl, fetchTimeoutMs(source))
}

class RunningProxy implements ProxyHandle {
  readonly adminAddress: string | null
  private readonly context: ServerContext
  readonly stats: ServerStats
  readonly ads: AdsClient | null
  readonly admin: AdminServer | null
  private readonly sources: { readonly cds: ResourceFeed | null; readonly lds: ResourceFeed | null }
  private stopping: Promise<void> | null = null
  private readonly memoryKeepers: (() => void)[] = []

  constructor(context: ServerContext, stats: ServerStats, ads: AdsClient | null, admin: AdminServer | null) {
    this.context = context
    this.stats = stats
    this.ads = ads
    this.admin = admin
    this.adminAddress = admin?.address ?? null
    const dynamic = context.options.bootstrap.dynamicResources
    this.sources = {
      cds: feedOf(context, ads, CDS_TYPE, 'cluster_manager.cds', dynamic?.cdsConfig, 'dynamic_resources.cds_config'),
      lds: feedOf(context, ads, LDS_TYPE, 'listener_manager.lds', dynamic?.ldsConfig, 'dynamic_resources.lds_config'),
    }
  }

  get state(): ProxyHandle['state'] {
    return this.context.state
  }

  outliveFaults(): void {
    this.stats.faults.outlive()
  }

  /** Follows the management server; LIVE when the first configuration serves. */
  beginDynamic(): void {
    this.context.state = 'INITIALIZING'
    this.initialize().then(
      () => {
        releaseStartupMemory()
        if (this.stopping === null) this.memoryKeepers.push(keepMallocTrimmed(), growYoungGenerationWhenBusy())
        if (this.context.state === 'INITIALIZING') this.context.state = 'LIVE'
        this.stats.started(Date.now() - this.context.startTime.getTime())
        this.context.options.log.info('all dependencies initialized. starting workers')
      },
      (error: unknown) => this.context.options.log.error({ reason: errorText(error) }, 'initialization failed'),
    )
  }

  drainListeners(options: { graceful: boolean; inboundOnly: boolean; skipExit: boolean }): void {
    drainListeners(this.context, options)
  }

  reopenLogs(): void {
    this.context.workers.apply({ kind: 'reopen-logs' }).catch((error: unknown) => {
      this.context.options.log.error({ reason: errorText(error) }, 'access logs could not be reopened')
    })
  }

  stop(): Promise<void> {
    this.stopping ??= this.close()
    return this.stopping
  }

  private async initialize(): Promise<void> {
    const { clusters, listeners, options } = this.context
    this.ads?.start()
    await clusters.settled()
    await followAll(this.context, this.sources, options.log)
    await clusters.settled()
    await listeners.settled()
  }

  private close(): Promise<void> {
    for (const end of this.memoryKeepers) end()
    return closeParts(this.context, this)
  }
}
