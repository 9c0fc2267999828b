import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { errorText, type Result, UserError } from '../../base/errors.ts'
import { createLogger, isLogLevel, LOG_LEVELS } from '../../base/logger.ts'
import type { Store } from '../../cluster/index.ts'
import type { MeshConfig } from '../../config/index.ts'
import type { Pilot } from '../../pilot/index.ts'
import { isTrue } from '../output.ts'
import { type SecureGrpcFlags, secureGrpcSettings } from '../secure-grpc.ts'

interface Options extends SecureGrpcFlags {
  readonly from: string
  readonly meshConfig?: string
  readonly networksConfig?: string
  readonly revision?: string
  readonly sharedMeshConfig?: string
  readonly grpcAddr: string
  readonly httpAddr: string
  readonly monitoringAddr: string
  readonly ctrlzAddr?: string
  readonly webhookAddr?: string
  readonly tlsCertFile?: string
  readonly tlsKeyFile?: string
  readonly domain: string
  readonly clusterId: string
  readonly logLevel: string
  readonly unsafeAdminEndpoints: string | boolean
}

/** `outrigger pilot`: the control plane alone, from a folder of manifests. */
export function register(program: Command): void {
  program
    .command('pilot')
    .description('run the control plane from a folder of Kubernetes objects and Istio resources')
    .requiredOption('--from <dir>', 'folder of YAML and JSON manifests, watched')
    .option('--mesh-config <file>', 'MeshConfig, watched; left out: key mesh of ConfigMap istio-system/istio')
    .option('--networks-config <file>', 'MeshNetworks, watched; left out: key meshNetworks of that ConfigMap')
    .option('--revision <name>', 'revision of this control plane: its ConfigMap is istio-NAME')
    .addOption(
      new Option('--shared-mesh-config <name>', 'ConfigMap of istio-system whose settings come first').env(
        'SHARED_MESH_CONFIG',
      ),
    )
    .option('--grpc-addr <host:port>', 'xDS, plaintext', '127.0.0.1:15010')
    .option('--secure-grpc-addr <host:port>', 'xDS and certificates over TLS, for example 0.0.0.0:15012')
    .addOption(
      new Option(
        '--ca-dir <dir>',
        'its authority: ca-cert.pem, ca-key.pem, root-cert.pem; an empty folder gets one',
      ).env('ROOT_CA_DIR'),
    )
    .option('--token-key-file <file>', 'public keys that service-account tokens are verified by, PEM')
    .option('--token-issuer <url>', 'issuer of those tokens (default: that of an API server)')
    .option('--server-name <name...>', 'more names for its certificate, beside istiod.istio-system.svc')
    .option('--http-addr <host:port>', 'readiness and debug pages', '127.0.0.1:8080')
    .option('--monitoring-addr <host:port>', 'metrics and debug pages', '127.0.0.1:15014')
    .option('--ctrlz-addr <host:port>', 'log scopes and their levels, for example 127.0.0.1:9876')
    .option('--webhook-addr <host:port>', '/validate and /inject for the API server, over TLS')
    .option('--tls-cert-file <file>', 'certificate chain of the webhooks, PEM (default: one of --ca-dir)')
    .option('--tls-key-file <file>', 'its key, PEM')
    .option('--domain <domain>', 'cluster domain', 'cluster.local')
    .option('--cluster-id <id>', 'name of this cluster', 'Kubernetes')
    .addOption(
      new Option('--unsafe-admin-endpoints [boolean]', 'the debug page force_disconnect, which ends streams of proxies')
        .env('UNSAFE_ENABLE_ADMIN_ENDPOINTS')
        .default(false),
    )
    .option('--log-level <level>', LOG_LEVELS.join(', '), 'info')
    .action(run)
}

async function run(options: Options): Promise<void> {
  if (!isLogLevel(options.logLevel)) {
    throw new UserError(`unknown log level "${options.logLevel}": use ${LOG_LEVELS.join(', ')}`, 64)
  }
  const log = createLogger('pilot', options.logLevel)
  const { FolderSource } = await import('../../cluster/index.ts')
  const { followConfigSources, startPilot } = await import('../../pilot/index.ts')
  const { parseMeshConfigText, parseMeshNetworksText } = await import('../../config/index.ts')
  checkSettings(options.meshConfig, parseMeshConfigText)
  checkSettings(options.networksConfig, parseMeshNetworksText)
  const source = new FolderSource(options.from, { onProblem: (message) => log.error(message) })
  // Reading a large folder leaves several times its size as garbage.
  const { releaseStartupMemory } = await import('../../base/startup-memory.ts')
  releaseStartupMemory()
  let pilot: Pilot | undefined
  const meshConfig = (): MeshConfig | undefined => pilot?.meshConfig()
  pilot = await startPilot({
    store: source.store,
    webhooks: await webhookSettings(options, source.store, meshConfig),
    writeStatuses: (updates) => source.store.putStatuses(updates),
    meshSources: {
      meshConfigFile: options.meshConfig,
      networksConfigFile: options.networksConfig,
      revision: options.revision,
      sharedMeshConfig: options.sharedMeshConfig,
    },
    log,
    grpcAddr: options.grpcAddr,
    secureGrpc: await secureGrpcSettings(options),
    httpAddr: options.httpAddr,
    monitoringAddr: options.monitoringAddr,
    ctrlzAddr: options.ctrlzAddr,
    domain: options.domain,
    clusterId: options.clusterId,
    unsafeAdmin: isTrue('--unsafe-admin-endpoints', options.unsafeAdminEndpoints),
  }).catch((error: unknown) => {
    source.stop()
    throw error
  })
  log.info(pilot.addresses, `serving ${options.from}`)
  const stopSources = followConfigSources(pilot.meshConfig(), {
    store: source.store,
    onProblem: (text) => log.error(text),
  })
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  stopSources()
  source.stop()
  await pilot.stop()
}

async function webhookSettings(
  { webhookAddr, tlsCertFile, tlsKeyFile, clusterId, secureGrpcAddr }: Options,
  store: Store,
  meshConfig: () => MeshConfig | undefined,
) {
  if (webhookAddr === undefined) return undefined
  const needs = '--webhook-addr needs --tls-cert-file and --tls-key-file'
  if (Boolean(tlsCertFile) !== Boolean(tlsKeyFile)) throw new UserError(`${needs}, both of them`, 64)
  if (!tlsCertFile && secureGrpcAddr === undefined) {
    throw new UserError(`${needs}, or --secure-grpc-addr and --ca-dir: the API server calls over TLS`, 64)
  }
  const { podInjection } = await import('../../local/index.ts')
  return {
    address: webhookAddr,
    ...(tlsCertFile && { certificate: { certChainPem: readText(tlsCertFile), keyPem: readText(tlsKeyFile!) } }),
    inject: await podInjection(store, clusterId, meshConfig),
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UserError(`${file}: ${errorText(error)}`, 65, { cause: error })
  }
}

/** A file that nothing good was ever read from keeps the control plane from starting; later its last good content stays. */
function checkSettings(file: string | undefined, parse: (text: string) => Result<unknown>): void {
  if (file === undefined) return
  const parsed = parse(readText(file))
  if (parsed.ok) return
  const { path, message, hint } = parsed.problems.find(({ level }) => level === 'error')!
  throw new UserError(`${file}: ${path ? `${path}: ` : ''}${message}${hint ? ` (${hint})` : ''}`, 65)
}
