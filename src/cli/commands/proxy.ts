// `outrigger proxy`: the data plane with Envoy's command line (envoy-contract §1.1, §1.2).

import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { errorText, UserError } from '../../base/errors.ts'
import { createLogger, isLogLevel, LOG_LEVELS, type LogLevel } from '../../base/logger.ts'

interface ProxyFlags {
  configPath?: string
  configYaml?: string
  mode: 'serve' | 'validate' | 'init_only'
  concurrency?: number
  logLevel: LogLevel
  logPath?: string
  serviceCluster?: string
  serviceNode?: string
  serviceZone?: string
  drainTimeS: number
  drainStrategy: 'gradual' | 'immediate'
  fileFlushIntervalMsec: number
  fileFlushMinSizeKb: number
  allowUnknownStaticFields: boolean
  rejectUnknownDynamicFields: boolean
  adminAddressPath?: string
  restartEpoch: number
  hotRestartVersion: boolean
}

export function register(program: Command): void {
  program
    .command('proxy')
    .description('Data plane: serves an Envoy v3 bootstrap, static or over xDS')
    .option('-c, --config-path <file>', 'bootstrap: .json, .yaml, .yml or .pb')
    .option('--config-yaml <text>', 'bootstrap as YAML or JSON text, merged over the file')
    .addOption(
      new Option('--mode <mode>', 'serve; validate checks the bootstrap and exits; init_only exits after start')
        .choices(['serve', 'validate', 'init_only'])
        .default('serve'),
    )
    .option('--concurrency <n>', 'worker threads (default: hardware threads)', whole)
    .option('-l, --log-level <level>', LOG_LEVELS.join(', '), level, 'info')
    .option('--log-path <file>', 'log to a file instead of stderr')
    .option('--service-cluster <name>', 'overrides node.cluster')
    .option('--service-node <id>', 'overrides node.id')
    .option('--service-zone <zone>', 'overrides node.locality.zone')
    .option('--drain-time-s <seconds>', 'drain window', whole, 600)
    .addOption(
      new Option('--drain-strategy <strategy>', 'how connections are asked to end')
        .choices(['gradual', 'immediate'])
        .default('gradual'),
    )
    .option('--file-flush-interval-msec <ms>', 'access log flush interval', whole, 10_000)
    .option('--file-flush-min-size-kb <kb>', 'access log buffer size that is written at once', whole, 64)
    .option('--allow-unknown-static-fields', 'accept unknown fields in the bootstrap', false)
    .option('--reject-unknown-dynamic-fields', 'refuse unknown fields in xDS resources', false)
    .option('--admin-address-path <file>', 'write the bound admin address to this file')
    .option('--restart-epoch <n>', 'hot restart generation; only 0 is supported', whole, 0)
    .option('--hot-restart-version', 'print the hot restart version and exit', false)
    .addOption(accepted('--parent-shutdown-time-s <seconds>', 'hot restart is not supported: no effect'))
    .addOption(accepted('--component-log-level <list>', 'the proxy has one logger: no effect'))
    .addOption(accepted('--log-format <pattern>', 'logs are JSON lines: no effect'))
    .addOption(accepted('--log-format-escaped', 'logs are JSON lines: no effect'))
    .addOption(accepted('--base-id <n>', 'no shared memory is used: no effect'))
    .addOption(accepted('--use-dynamic-base-id', 'no shared memory is used: no effect'))
    .addOption(accepted('--base-id-path <file>', 'no shared memory is used: no effect'))
    .addOption(accepted('--disable-hot-restart', 'hot restart is not supported: no effect'))
    .addOption(accepted('--ignore-unknown-dynamic-fields', 'the default: no effect'))
    .addOption(accepted('--skip-deprecated-logs', 'no effect'))
    .addOption(accepted('--local-address-ip-version <version>', 'no effect'))
    .addOption(accepted('--cpuset-threads', 'no effect'))
    .addOption(accepted('--enable-mutex-tracing', 'no effect'))
    .addOption(accepted('--enable-core-dump', 'no effect'))
    .addOption(accepted('--enable-fine-grain-logging', 'no effect'))
    .addOption(accepted('--socket-path <path>', 'no effect'))
    .addOption(accepted('--socket-mode <mode>', 'no effect'))
    .action((flags: ProxyFlags) => run(flags))
}

/** Flags of Envoy whose subject does not exist here: taken so that existing command lines work, hidden from the help. */
function accepted(flags: string, description: string): Option {
  return new Option(flags, description).hideHelp()
}

function whole(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('expected a whole number')
  return value
}

function level(text: string): LogLevel {
  if (!isLogLevel(text)) throw new InvalidArgumentError(`expected one of ${LOG_LEVELS.join(', ')}`)
  return text
}

async function run(flags: ProxyFlags): Promise<void> {
  if (flags.hotRestartVersion) {
    console.log('disabled')
    return
  }
  if (flags.restartEpoch > 0) throw new UserError('hot restart is not supported; start with --restart-epoch 0')
  const { loadBootstrap, startProxy, validateProxy } = await import('../../proxy/index.ts')
  const source = flags.configPath ?? '<inline>'
  const bootstrap = guard(source, () => {
    const loaded = loadBootstrap({
      ...(flags.configPath === undefined ? {} : { path: flags.configPath }),
      ...(flags.configYaml === undefined ? {} : { yaml: flags.configYaml }),
      allowUnknownFields: flags.allowUnknownStaticFields,
      node: { id: flags.serviceNode, cluster: flags.serviceCluster, zone: flags.serviceZone },
    })
    if (flags.mode === 'validate') validateProxy(loaded)
    return loaded
  })
  if (flags.mode === 'validate') {
    console.log(`configuration '${flags.configPath ?? ''}' OK`)
    return
  }
  const log = createLogger('outrigger', flags.logLevel, flags.logPath)
  const proxy = await startProxy({
    bootstrap,
    configPath: flags.configPath ?? '',
    // Envoy takes 0 as 1.
    concurrency: flags.concurrency === undefined ? availableParallelism() : Math.max(1, flags.concurrency),
    drainTimeS: flags.drainTimeS,
    drainStrategy: flags.drainStrategy,
    fileFlushIntervalMs: flags.fileFlushIntervalMsec,
    fileFlushMinSizeKb: flags.fileFlushMinSizeKb,
    rejectUnknownDynamicFields: flags.rejectUnknownDynamicFields,
    log,
    onExit: (exitCode) => process.exit(exitCode),
  })
  proxy.outliveFaults()
  if (flags.adminAddressPath !== undefined && proxy.adminAddress !== null)
    writeFileSync(flags.adminAddressPath, proxy.adminAddress)
  const stop = (): void => {
    proxy.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ reason: errorText(error) }, 'the proxy could not be stopped in order')
        process.exit(1)
      },
    )
  }
  if (flags.mode === 'init_only') stop()
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('SIGHUP', () => {})
  process.on('SIGUSR1', () => proxy.reopenLogs())
}

/** A bootstrap that cannot be served, in Envoy's words. */
function guard<T>(source: string, load: () => T): T {
  try {
    return load()
  } catch (error) {
    throw new UserError(`error initializing configuration '${source}': ${errorText(error)}`, 1, { cause: error })
  }
}
