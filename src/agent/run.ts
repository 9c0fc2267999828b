// One workload's agent from start to end: identity, control-plane channel, data plane, health, termination.
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, Metadata } from '@grpc/grpc-js'
import { errorText } from '../base/errors.ts'
import { createLogger, type Logger, type LogLevel } from '../base/logger.ts'
import { releaseStartupMemory } from '../base/startup-memory.ts'
import { createCertificate } from '../security/ca-service.ts'
import { SecretManager } from '../security/secret-manager.ts'
import { formatSpiffeId } from '../security/spiffe.ts'
import { ADS_CHANNEL_OPTIONS, type AdsTransport } from '../xds/client.ts'
import { parseAppProbes } from './app-probes.ts'
import { leftOutOfBootstrap, PROMETHEUS_PORT, SDS_SOCKET, XDS_SOCKET_NAME } from './bootstrap.ts'
import { bootstrapFile } from './bootstrap-file.ts'
import { type ControlPlaneOptions, connectControlPlane, controlPlaneMetadata } from './control-plane-channel.ts'
import { findCredentialSocket } from './credential-socket.ts'
import { waitForZeroConnections } from './drain.ts'
import { HealthReports } from './health-reports.ts'
import { localRequest } from './local-http.ts'
import { createSecretSource } from './secret-source.ts'
import type { AgentSettings } from './settings.ts'
import { startStatusServer } from './status-server.ts'
import { WorkloadHealth } from './workload-health.ts'

const CA_TIMEOUT_MS = 10_000

/** A data plane, in this process or another. */
interface DataPlane {
  /** Ends with an exit code when the data plane ends by itself. */
  readonly exited: Promise<number>
  stop(): Promise<void>
}

/** Where every ADS stream goes. */
type Discovery = AdsTransport & { readonly connect: () => Client; readonly metadata: () => Promise<Metadata> }

/** Runs until SIGTERM, SIGINT, /quitquitquit or the end of the data plane; resolves with the exit code. */
export async function runAgent(given: AgentSettings, log: Logger): Promise<number> {
  const settings = await withCredentialSocket(given, log)
  const { config } = settings
  const ending = new Ending()
  const address = controlPlane(settings, config.discoveryAddress)
  const reports = new HealthReports()
  const discovery: Discovery = {
    connect: () => reports.wrap(connectControlPlane(address, ADS_CHANNEL_OPTIONS)),
    metadata: () => controlPlaneMetadata(address),
  }
  const secrets = startSecrets(settings, log)
  const bootstrapPath = bootstrapFile(settings)
  if (!config.customConfigFile) for (const what of leftOutOfBootstrap(settings)) log.warn(`ProxyConfig ${what}`)
  const status = await startStatusServer({
    port: config.statusPort,
    adminPort: config.proxyAdminPort,
    podIp: settings.instanceIps[0]!,
    probes: parseAppProbes(settings.appProbers),
    metrics: { proxyPort: PROMETHEUS_PORT, app: settings.appScrape },
    secrets,
    onQuit: () => ending.request('quitquitquit'),
    onDrain: () => void drain(settings, log),
    log,
  })
  const starting =
    settings.proxy === 'outrigger'
      ? startInProcess(settings, bootstrapPath, discovery, secrets, log)
      : startChild(settings, bootstrapPath, discovery, secrets, log)
  const health =
    config.readinessProbe &&
    new WorkloadHealth(config.readinessProbe, settings.instanceIps[0]!, (problem) => {
      if (problem === null) log.info('the workload is healthy')
      else log.warn({ reason: problem }, 'the workload is unhealthy')
      reports.report(problem)
    })
  const code = await supervise(settings, starting, ending, log)
  health?.stop()
  secrets.close()
  await status.close()
  return code
}

/** Tells the control plane of the SDS server for credentials, where the pod has one. */
async function withCredentialSocket(settings: AgentSettings, log: Logger): Promise<AgentSettings> {
  if (!(await findCredentialSocket(settings.workdir, log))) return settings
  return { ...settings, metadata: { ...settings.metadata, credential: 'true' } }
}

/** Follows the data plane until it ends or is to be ended, which may be while it still starts. */
async function supervise(
  settings: AgentSettings,
  starting: Promise<DataPlane>,
  ending: Ending,
  log: Logger,
): Promise<number> {
  const plane = await Promise.race([ending.requested, starting])
  const outcome = typeof plane === 'string' ? plane : await Promise.race([ending.requested, plane.exited])
  if (typeof outcome === 'number') {
    log.error({ code: outcome }, 'the proxy ended by itself')
    return outcome
  }
  log.info({ reason: outcome }, 'terminating')
  if (typeof plane !== 'string') await terminate(settings, plane, log)
  return 0
}

/** Why the agent shall end: signals and /quitquitquit. */
class Ending {
  readonly requested: Promise<string>
  #resolve: (reason: string) => void = () => {}

  constructor() {
    this.requested = new Promise((resolveRequest) => {
      this.#resolve = resolveRequest
    })
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.request(signal))
  }

  request(reason: string): void {
    this.#resolve(reason)
  }
}

function controlPlane(settings: AgentSettings, address: string): ControlPlaneOptions {
  return {
    address,
    tls: settings.config.controlPlaneAuthPolicy !== 'NONE',
    rootCertPath: settings.rootCertPath,
    tokenPath: settings.tokenPath,
    clusterId: settings.clusterId,
  }
}

function startSecrets(settings: AgentSettings, log: Logger): SecretManager {
  // The CA always asks for an identity, so its port is TLS even where discovery is plaintext.
  const ca: ControlPlaneOptions = { ...controlPlane(settings, settings.caAddress), tls: true }
  const { trustDomain, namespace, serviceAccount } = settings
  const secrets = new SecretManager({
    spiffeId: formatSpiffeId({ trustDomain, namespace, serviceAccount }),
    keyType: settings.keyType,
    ttlSeconds: settings.certTtlSeconds,
    moreRoots: settings.config.caCertificatesPem,
    graceRatio: settings.graceRatio,
    graceJitter: settings.graceJitter,
    log,
    sign: async (csrPem, ttlSeconds) => {
      const metadata = await controlPlaneMetadata(ca)
      const client = connectControlPlane(ca)
      try {
        return await createCertificate(
          client,
          { csrPem, ttlSeconds, metadata: { ClusterID: settings.clusterId } },
          metadata,
          CA_TIMEOUT_MS,
        )
      } finally {
        client.close()
      }
    },
  })
  secrets.start()
  return secrets
}

/** Our proxy in this process: no Unix sockets, the ADS stream and the secrets are handed over directly. */
async function startInProcess(
  settings: AgentSettings,
  bootstrapPath: string,
  discovery: Discovery,
  secrets: SecretManager,
  log: Logger,
): Promise<DataPlane> {
  const { loadBootstrap, startProxy } = await import('../proxy/index.ts')
  let exit: (code: number) => void = () => {}
  const exited = new Promise<number>((resolveExit) => {
    exit = resolveExit
  })
  const proxy = await startProxy({
    bootstrap: loadBootstrap({ path: bootstrapPath, allowUnknownFields: false }),
    configPath: bootstrapPath,
    concurrency: settings.concurrency,
    drainTimeS: Math.round(settings.config.drainDurationMs / 1000),
    drainStrategy: 'immediate',
    fileFlushIntervalMs: settings.config.fileFlushIntervalMs,
    fileFlushMinSizeKb: settings.config.fileFlushMinSizeKb,
    rejectUnknownDynamicFields: false,
    log: createLogger('proxy', settings.proxyLogLevel as LogLevel),
    adsTransport: discovery,
    secrets: createSecretSource(secrets, log),
    onExit: exit,
  })
  proxy.outliveFaults()
  log.info({ admin: proxy.adminAddress }, 'proxy started in this process')
  return { exited, stop: () => proxy.stop() }
}

/** A stock Envoy as a child, with the agent's sockets for xDS and SDS. */
async function startChild(
  settings: AgentSettings,
  bootstrapPath: string,
  discovery: Discovery,
  secrets: SecretManager,
  log: Logger,
): Promise<DataPlane> {
  // Only this kind of data plane needs the socket servers.
  const [{ startEnvoy }, { startSdsServer }, { startXdsProxy }] = await Promise.all([
    import('./envoy-process.ts'),
    import('./sds.ts'),
    import('./xds-proxy.ts'),
  ])
  const { config, workdir } = settings
  const sds = await startSdsServer(resolve(workdir, SDS_SOCKET), createSecretSource(secrets, log), log)
  const xds = await startXdsProxy({
    socketPath: resolve(workdir, config.configPath, XDS_SOCKET_NAME),
    ...discovery,
    log,
  })
  releaseStartupMemory()
  const envoy = await startEnvoy({
    binary: settings.proxy,
    cwd: workdir,
    bootstrapPath,
    drainTimeS: Math.round(config.drainDurationMs / 1000),
    fileFlushIntervalMs: config.fileFlushIntervalMs,
    fileFlushMinSizeKb: config.fileFlushMinSizeKb,
    concurrency: settings.concurrency,
    logLevel: settings.proxyLogLevel,
    componentLogLevel: settings.proxyComponentLogLevel,
    skipDeprecatedLogs: settings.skipDeprecatedLogs,
  })
  return {
    exited: envoy.exited,
    stop: async () => {
      await envoy.stop()
      xds.close()
      sds.close()
    },
  }
}

/** Tells the proxy to refuse new connections while it finishes what it has. */
async function drain(settings: AgentSettings, log: Logger): Promise<void> {
  try {
    await localRequest(settings.config.proxyAdminPort, '/drain_listeners?graceful&skip_exit', { method: 'POST' })
  } catch (error) {
    log.warn({ reason: errorText(error) }, 'the proxy could not be told to drain')
  }
}

/** Drain, wait, stop (istio-contract 13.4). */
async function terminate(settings: AgentSettings, plane: DataPlane, log: Logger): Promise<void> {
  await drain(settings, log)
  if (settings.exitOnZeroActiveConnections) {
    await sleep(settings.minimumDrainMs)
    await waitForZeroConnections(settings.config.proxyAdminPort, log)
  } else await Promise.race([sleep(settings.config.terminationDrainDurationMs), plane.exited])
  await plane.stop()
}
