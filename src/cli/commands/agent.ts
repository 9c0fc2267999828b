import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import { createLogger, isLogLevel, LOG_LEVELS, scopedLevel } from '../../base/logger.ts'

interface Options {
  readonly domain?: string
  readonly proxy: string
  readonly proxyLogLevel: string
  readonly proxyComponentLogLevel?: string
  readonly log_output_level: string
  readonly concurrency?: string
  readonly serviceCluster?: string
  readonly workdir: string
  readonly podInfo: string
}

/** `outrigger agent sidecar|router`: what `pilot-agent proxy` is, with its flag names. */
export function register(program: Command): void {
  program
    .command('agent <role>')
    .description(
      'run beside one workload: certificates, bootstrap, health, and the proxy itself (role: sidecar or router)',
    )
    .option('--domain <domain>', 'DNS domain of the node id (default: <namespace>.svc.cluster.local)')
    .option('--proxy <kind>', 'outrigger (in this process), envoy, or the path of an Envoy binary', 'outrigger')
    .option('--proxyLogLevel <level>', `log level of the proxy: ${LOG_LEVELS.join(', ')}`, 'warning')
    .option('--proxyComponentLogLevel <levels>', 'component log levels of an Envoy binary, name:level,…')
    .option('--log_output_level <scopes>', 'log level of the agent: default:<level>', 'default:info')
    .option(
      '--concurrency <n>',
      'worker threads; 0 = one for each CPU (default: ProxyConfig, else the CPU limit, else 2)',
    )
    .option('--serviceCluster <name>', 'node.cluster')
    .option('--workdir <dir>', 'folder that relative paths start from', '/')
    .option('--pod-info <dir>', "folder with the pod's labels and annotations files", '/etc/istio/pod')
    .action(run)
}

async function run(role: string, options: Options): Promise<void> {
  if (role !== 'sidecar' && role !== 'router') throw new UserError(`unknown role "${role}": use sidecar or router`, 64)
  if (!isLogLevel(options.proxyLogLevel)) {
    throw new UserError(`unknown --proxyLogLevel "${options.proxyLogLevel}": use ${LOG_LEVELS.join(', ')}`, 64)
  }
  const { runAgent } = await import('../../agent/index.ts')
  const code = await runAgent(
    {
      role,
      domain: options.domain,
      proxy: options.proxy,
      proxyLogLevel: options.proxyLogLevel,
      proxyComponentLogLevel: options.proxyComponentLogLevel,
      concurrency: workers(options.concurrency),
      serviceCluster: options.serviceCluster,
      workdir: options.workdir,
      podInfo: options.podInfo,
    },
    process.env,
    createLogger('agent', scopedLevel(options.log_output_level)),
  )
  // The data plane's sockets may still linger; the agent's end is the process's end.
  process.exit(code)
}

function workers(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d+$/.test(text)) throw new UserError(`--concurrency must be a whole number, is "${text}"`, 64)
  return Number(text)
}
