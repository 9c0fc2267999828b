import { type Command, Option } from 'commander'
import { UserError } from '../../base/errors.ts'
import {
  addControlPlaneFlags,
  askControlPlane,
  type ControlPlaneFlags,
  DEBUG_TYPE,
  identityOf,
  SYNC_TYPE,
} from '../control-plane.ts'
import { clusters } from '../envoy/clusters.ts'
import { compareResources } from '../envoy/compare.ts'
import { ConfigDump } from '../envoy/config-dump.ts'
import { listeners } from '../envoy/listeners.ts'
import { routes } from '../envoy/routes.ts'
import { adminRequest, localAccess, readAdmin, type SourceOptions } from '../envoy/source.ts'
import { outputFormat, printStructured } from '../output.ts'

interface Options extends Omit<SourceOptions, 'namespace'>, ControlPlaneFlags {
  readonly namespace?: string
  readonly output: string
  readonly verbosity: string
}

/** `outrigger proxy-status [POD]`, also as `x proxy-status`. */
export function register(program: Command): void {
  registerProxyStatus(program)
}

/** Who is connected and in step; with a pod, how its configuration differs from the control plane's. */
export function registerProxyStatus(parent: Command): void {
  const command = parent
    .command('proxy-status [pod]')
    .alias('ps')
    .description('which proxies are connected to the control plane, and whether they have its configuration')
    .option('-n, --namespace <name>', 'proxies of this namespace only; namespace of the pod')
    .option('-f, --file <file>', "compare the control plane's configuration of the pod with this config dump")
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addOption(new Option('-v, --verbosity <level>', '1: one column per resource type').default('0'))
    .option('--proxy-admin-port <port>', "the proxy's admin port", '15000')
  addControlPlaneFlags(command).action(async (pod: string | undefined, options: Options) => {
    if (pod !== undefined) await printDifferences(pod, options)
    else if (options.file !== undefined) throw new UserError('--file needs the pod to compare with', 64)
    else await printStatus(options)
  })
}

async function printStatus(options: Options): Promise<void> {
  const format = outputFormat(options.output, ['table', 'json', 'yaml'])
  if (!/^\d+$/.test(options.verbosity)) throw new UserError(`--verbosity ${options.verbosity}: must be a number`, 64)
  const answer = await askControlPlane(SYNC_TYPE, [], options)
  const { proxiesOf, statusTable, syncJson, verboseTable } = await import('../sync-status.ts')
  const { namespace } = options
  if (format !== 'table') return printStructured(syncJson(answer, namespace), format)
  const proxies = proxiesOf(answer).filter((proxy) => namespace === undefined || proxy.namespace === namespace)
  const { ID } = identityOf(answer)
  const verbose = Number(options.verbosity) > 0
  process.stdout.write(verbose ? verboseTable(proxies, ID, Date.now()) : statusTable(proxies, ID))
}

async function printDifferences(pod: string, options: Options): Promise<void> {
  const source = { ...options, namespace: options.namespace ?? 'default' }
  const { name, text } = await proxyDump(pod, source)
  const answer = await askControlPlane(DEBUG_TYPE, [`config_dump?proxyID=${name}`], options)
  const known = Buffer.from(answer.resources[0]?.value ?? new Uint8Array()).toString('utf8')
  if (!known.startsWith('{')) throw new UserError(known.trim() || 'unable to find config dump in Istiod responses')
  const actual = new ConfigDump(text)
  const expected = new ConfigDump(known)
  const everyCluster = { fqdn: '', port: 0, subset: '', direction: '' }
  const everyListener = { address: '', port: 0, type: '' }
  // Only what pilot serves is compared: static clusters, listeners and routes come from the bootstrap.
  const dynamic = new ConfigDump(JSON.stringify({ configs: actual.dynamicSections() }))
  const list = (read: () => readonly { raw: unknown }[]) => {
    try {
      return read().map((item) => item.raw as Record<string, unknown>)
    } catch (error) {
      if (error instanceof UserError) return []
      throw error
    }
  }
  const parts: [string, Record<string, unknown>[], Record<string, unknown>[]][] = [
    ['Clusters', list(() => clusters(expected, everyCluster)), list(() => clusters(dynamic, everyCluster))],
    ['Listeners', list(() => listeners(expected, everyListener)), list(() => listeners(dynamic, everyListener))],
    ['Routes', list(() => routes(expected, '')), list(() => routes(dynamic, ''))],
  ]
  for (const [name, istiod, envoy] of parts) {
    const difference = await compareResources(name, istiod, envoy)
    const loadedAt = name === 'Routes' ? actual.routesLoaded() : ''
    const loaded = loadedAt === '' ? '' : ` (RDS last loaded at ${loadedAt})`
    process.stdout.write(difference === '' ? `${name} Match${loaded}\n` : `${name} Don't Match${loaded}\n${difference}`)
  }
}

/** The proxy's own configuration, and its name as control planes know it. */
async function proxyDump(pod: string, source: SourceOptions): Promise<{ name: string; text: string }> {
  if (source.file !== undefined && !pod.includes('/')) {
    const name = pod.includes('.') ? pod : `${pod}.${source.namespace}`
    return { name, text: await readAdmin(undefined, '', source) }
  }
  const access = await localAccess()
  const ref = await access.findPod(pod, source.namespace)
  const text =
    source.file === undefined
      ? await adminRequest(access, ref, 'GET', '/config_dump', source)
      : await readAdmin(undefined, '', source)
  return { name: `${ref.name}.${ref.namespace}`, text }
}
