import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { MeshAccess } from '../access.ts'
import { clusters } from '../envoy/clusters.ts'
import { compareResources } from '../envoy/compare.ts'
import { ConfigDump } from '../envoy/config-dump.ts'
import { listeners } from '../envoy/listeners.ts'
import { routes } from '../envoy/routes.ts'
import { adminRequest, localAccess, readAdmin, type SourceOptions } from '../envoy/source.ts'
import { outputFormat, printStructured } from '../output.ts'
import { tabulate } from '../tab-writer.ts'

interface Options extends SourceOptions {
  readonly output: string
  readonly verbosity: string
}

/** One proxy of pilot's /debug/syncz. */
interface SyncStatus {
  readonly cluster_id: string
  readonly proxy: string
  readonly istio_version?: string
  readonly resources?: Readonly<Record<string, { sent: string; acked: string; sentTime: string }>>
}

const TYPES: readonly (readonly [short: string, typeUrl: string])[] = [
  ['CDS', 'type.googleapis.com/envoy.config.cluster.v3.Cluster'],
  ['LDS', 'type.googleapis.com/envoy.config.listener.v3.Listener'],
  ['EDS', 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'],
  ['RDS', 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration'],
  ['ECDS', 'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig'],
]

/** The only control plane of a local mesh. */
const ISTIOD = 'istiod'

/** `outrigger proxy-status [POD]`: who is connected and in step; with a pod, how its configuration differs from pilot's. */
export function register(program: Command): void {
  program
    .command('proxy-status [pod]')
    .alias('ps')
    .description('which proxies are connected to the control plane, and whether they have its configuration')
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .option('-f, --file <file>', "compare pilot's configuration of the pod with this config dump")
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .option('-v, --verbosity <level>', '1: one column per resource type', '0')
    .option('--proxy-admin-port <port>', "the proxy's admin port", '15000')
    .action(async (pod: string | undefined, options: Options) => {
      const access = await localAccess()
      if (pod !== undefined) await printDifferences(access, pod, options)
      else if (options.file !== undefined) throw new UserError('--file needs the pod to compare with', 64)
      else await printStatus(access, options)
    })
}

async function printStatus(access: MeshAccess, options: Options): Promise<void> {
  const format = outputFormat(options.output, ['table', 'json', 'yaml'])
  const answer = await access.pilotRequest('/debug/syncz')
  if (answer.status !== 200) throw new UserError(`the control plane answered ${answer.status}: ${answer.body.trim()}`)
  const all = (JSON.parse(answer.body) as SyncStatus[]).sort((a, b) => (a.proxy < b.proxy ? -1 : 1))
  if (format !== 'table') {
    await printStructured(all, format)
    return
  }
  process.stdout.write(options.verbosity === '0' ? statusTable(all) : verboseTable(all, Date.now()))
}

function statusTable(all: readonly SyncStatus[]): string {
  const rows = all.map((status) => {
    const types = TYPES.filter(([, url]) => status.resources?.[url]).map(([short]) => short)
    return [status.proxy, status.cluster_id, ISTIOD, status.istio_version ?? '', `${types.length} (${types.join(',')})`]
  })
  return tabulate([['NAME', 'CLUSTER', 'ISTIOD', 'VERSION', 'SUBSCRIBED TYPES'], ...rows], 5)
}

function verboseTable(all: readonly SyncStatus[], nowMs: number): string {
  const rows = all.map((status) => [
    status.proxy,
    status.cluster_id,
    ...TYPES.map(([, url]) => syncText(status.resources?.[url], nowMs)),
    ISTIOD,
    status.istio_version ?? '',
  ])
  return tabulate([['NAME', 'CLUSTER', ...TYPES.map(([short]) => short), 'ISTIOD', 'VERSION'], ...rows], 5)
}

/** `SYNCED (12s)`, `STALE (3m)`, `NOT SENT`, or IGNORED for a type the proxy never asked for. */
function syncText(sync: { sent: string; acked: string; sentTime: string } | undefined, nowMs: number): string {
  if (!sync) return 'IGNORED'
  if (!sync.sent) return 'NOT SENT'
  const age = sync.sentTime ? ` (${ageText(nowMs - Date.parse(sync.sentTime))})` : ''
  return `${sync.sent === sync.acked ? 'SYNCED' : 'STALE'}${age}`
}

/** Kubernetes' short durations: 12s, 3m20s, 15m, 4h. */
function ageText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 120) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`
  if (minutes < 180) return `${minutes}m`
  const hours = Math.floor(minutes / 60)
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`
}

async function printDifferences(access: MeshAccess, pod: string, options: Options): Promise<void> {
  const ref = await access.findPod(pod, options.namespace)
  const answer = await access.pilotRequest(`/debug/config_dump?proxyID=${ref.name}.${ref.namespace}`)
  if (answer.status !== 200) throw new UserError(answer.body.trim())
  const text =
    options.file === undefined
      ? await adminRequest(access, ref, 'GET', '/config_dump', options)
      : await readAdmin(undefined, '', options)
  const actual = new ConfigDump(text)
  const expected = new ConfigDump(answer.body)
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
    const loaded = name === 'Routes' ? ` (RDS last loaded at ${actual.routesLoaded()})` : ''
    process.stdout.write(difference === '' ? `${name} Match${loaded}\n` : `${name} Don't Match${loaded}\n${difference}`)
  }
}
