import type { DescMessage } from '@bufbuild/protobuf'
import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { MeshAccess, PodRef } from '../access.ts'
import { type ClusterFilter, clusters, clusterTable } from '../envoy/clusters.ts'
import { ConfigDump, type Dumped } from '../envoy/config-dump.ts'
import {
  type EndpointFilter,
  edsTable,
  endpointTable,
  filterClusterStatuses,
  filterLoadAssignments,
  loadAssignments,
  parseClusterStatuses,
} from '../envoy/endpoints.ts'
import { bootstrapSummary, ecdsTable } from '../envoy/extensions.ts'
import { camelJson } from '../envoy/go-json.ts'
import { type ListenerFilter, listeners, listenerTable } from '../envoy/listeners.ts'
import { routes, routeTable } from '../envoy/routes.ts'
import { rootCertificates, secretTable } from '../envoy/secrets.ts'
import { adminRequest, localAccess, readAdmin, type SourceOptions } from '../envoy/source.ts'
import { outputFormat, portOption, printStructured } from '../output.ts'

interface Options extends SourceOptions {
  readonly output: string
  readonly port?: string
  readonly verbose?: string
  readonly [name: string]: string | boolean | undefined
}

const FORMATS = ['short', 'json', 'yaml'] as const

/** `outrigger proxy-config KIND POD`: what a proxy runs with, in istioctl's tables. */
export function register(program: Command): void {
  const pc = program
    .command('proxy-config')
    .alias('pc')
    .description(
      'show the configuration of a proxy: cluster, listener, route, endpoint, eds, bootstrap, log, secret, ecds, rootca-compare, all',
    )

  const kind = (name: string, aliases: string[], description: string): Command =>
    pc
      .command(`${name} [pod]`)
      .aliases(aliases)
      .description(description)
      .option('-n, --namespace <name>', 'namespace of the pod', 'default')
      .option('-f, --file <file>', 'read a config dump from this file (- = standard input)')
      .option('--proxy-admin-port <port>', "the proxy's admin port", '15000')

  const withOutput = (command: Command, fallback = 'short'): Command =>
    command.option('-o, --output <format>', 'short, json or yaml', fallback)

  withOutput(kind('cluster', ['clusters', 'c'], 'clusters'))
    .option('--fqdn <name>', 'only clusters with this in their name')
    .option('--direction <word>', 'only clusters with this in their name: inbound, outbound')
    .option('--port <port>', 'only clusters of this port')
    .option('--subset <name>', 'only clusters with this in their name')
    .action(showClusters)
  withOutput(kind('listener', ['listeners', 'l'], 'listeners'))
    .option('--address <ip>', 'only listeners of this address')
    .option('--type <type>', 'HTTP, TCP, HTTP+TCP or UNKNOWN')
    .option('--port <port>', 'only listeners of this port')
    .option('--verbose [bool]', 'false: one line per listener', 'true')
    .action(showListeners)
  withOutput(kind('route', ['routes', 'r'], 'route configurations'))
    .option('--name <name>', 'only this route configuration')
    .option('--verbose [bool]', 'false: one line per route configuration', 'true')
    .action(showRoutes)
  endpointFilters(withOutput(kind('endpoint', ['endpoints', 'ep'], 'endpoints and their health'))).action(showEndpoints)
  endpointFilters(withOutput(kind('eds', [], 'endpoints as EDS gave them'))).action(showEds)
  withOutput(kind('bootstrap', ['b'], 'bootstrap'), 'json').action(showBootstrap)
  withOutput(kind('secret', ['secrets', 's'], 'certificates')).action(showSecrets)
  withOutput(kind('ecds', ['ec'], 'extension configurations')).action(showEcds)
  withOutput(kind('all', ['a'], 'everything'))
    .option('--with-headers', 'a line above each table')
    .option('--verbose [bool]', 'false: one line per listener and route configuration', 'true')
    .option('--fqdn <name>', 'only clusters with this in their name')
    .option('--direction <word>', 'only clusters with this in their name: inbound, outbound')
    .option('--subset <name>', 'only clusters with this in their name')
    .option('--port <port>', 'only clusters, listeners and endpoints of this port')
    .option('--address <ip>', 'only listeners and endpoints of this address')
    .option('--type <type>', 'only listeners: HTTP, TCP, HTTP+TCP or UNKNOWN')
    .option('--name <name>', 'only this route configuration')
    .action(showAll)
  pc.command('rootca-compare <pod1> <pod2>')
    .alias('rc')
    .description('whether two pods trust the same root certificate')
    .option('-n, --namespace <name>', 'namespace of the pods', 'default')
    .option('--proxy-admin-port <port>', "the proxies' admin port", '15000')
    .action(compareRoots)
  kind('log', ['o'], 'log levels')
    .option('-l, --selector <labels>', 'every pod with these labels instead of one')
    .option('--level <levels>', '[logger:]level, several joined by commas')
    .option('-r, --reset', 'back to warning')
    .action(logLevels)
}

function endpointFilters(command: Command): Command {
  return command
    .option('--address <ip>', 'only endpoints of this address')
    .option('--port <port>', 'only endpoints of this port')
    .option('--cluster <name>', 'only endpoints of this cluster')
    .option('--status <status>', 'only endpoints of this status, for example healthy')
}

async function dumpOf(pod: string | undefined, options: Options, includeEds = false): Promise<ConfigDump> {
  return new ConfigDump(await readAdmin(pod, `/config_dump${includeEds ? '?include_eds' : ''}`, options))
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function isVerbose(options: Options): boolean {
  return options.verbose !== 'false'
}

async function printMessages(desc: DescMessage, list: readonly Dumped[], format: 'json' | 'yaml'): Promise<void> {
  await printStructured(
    await camelJson(
      desc,
      list.map((item) => item.raw),
    ),
    format,
  )
}

function clusterFilter(options: Options): ClusterFilter {
  return {
    fqdn: text(options.fqdn),
    port: portOption(options.port),
    subset: text(options.subset),
    direction: text(options.direction),
  }
}

function listenerFilter(options: Options): ListenerFilter {
  return { address: text(options.address), port: portOption(options.port), type: text(options.type) }
}

async function showClusters(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const list = clusters(await dumpOf(pod, options), clusterFilter(options))
  if (format === 'short') process.stdout.write(clusterTable(list))
  else
    await printMessages(
      (await import('../../api/gen/envoy/config/cluster/v3/cluster_pb.js')).ClusterSchema,
      list,
      format,
    )
}

async function showListeners(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const list = listeners(await dumpOf(pod, options), listenerFilter(options))
  if (format === 'short') process.stdout.write(listenerTable(list, isVerbose(options)))
  else
    await printMessages(
      (await import('../../api/gen/envoy/config/listener/v3/listener_pb.js')).ListenerSchema,
      list,
      format,
    )
}

async function showRoutes(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const list = routes(await dumpOf(pod, options), text(options.name))
  if (format === 'short') process.stdout.write(routeTable(list, isVerbose(options)))
  else
    await printMessages(
      (await import('../../api/gen/envoy/config/route/v3/route_pb.js')).RouteConfigurationSchema,
      list,
      format,
    )
}

function endpointFilter(options: Options): EndpointFilter {
  return {
    address: text(options.address),
    port: portOption(options.port),
    cluster: text(options.cluster),
    status: text(options.status),
  }
}

async function showEndpoints(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const statuses = parseClusterStatuses(await readAdmin(pod, '/clusters?format=json', options))
  const filter = endpointFilter(options)
  if (format === 'short') {
    process.stdout.write(endpointTable(statuses, filter))
    return
  }
  const { ClusterStatusSchema } = await import('../../api/gen/envoy/admin/v3/clusters_pb.js')
  const shown = filterClusterStatuses(statuses, filter).map((value) => ({ raw: value as Dumped['raw'], value }))
  await printMessages(ClusterStatusSchema, shown, format)
}

async function showEds(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const filter = endpointFilter(options)
  const all = loadAssignments(await dumpOf(pod, options, true))
  if (format === 'short') {
    process.stdout.write(edsTable(all, filter))
    return
  }
  const { ClusterLoadAssignmentSchema } = await import('../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js')
  await printMessages(ClusterLoadAssignmentSchema, filterLoadAssignments(all, filter), format)
}

async function showBootstrap(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const dump = await dumpOf(pod, options)
  if (format === 'short') {
    process.stdout.write(bootstrapText(dump))
    return
  }
  const { BootstrapConfigDumpSchema } = await import('../../api/gen/envoy/admin/v3/config_dump_pb.js')
  // Without the time, as istioctl.
  const { last_updated: _, lastUpdated: __, ...section } = dump.section('BootstrapConfigDump')
  const [message] = await camelJson(BootstrapConfigDumpSchema, [section as Dumped['raw']])
  await printStructured(message, format)
}

function bootstrapText(dump: ConfigDump): string {
  const { bootstrap } = dump.section('BootstrapConfigDump')
  return bootstrapSummary(bootstrap as Dumped['value'])
}

async function showSecrets(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const dump = await dumpOf(pod, options)
  if (format === 'short') process.stdout.write(secretTable(dump, new Date()))
  else await printSection(dump, 'SecretsConfigDump', format)
}

async function showEcds(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const dump = await dumpOf(pod, options)
  if (format === 'short') process.stdout.write(ecdsTable(dump))
  else await printSection(dump, 'EcdsConfigDump', format)
}

async function printSection(
  dump: ConfigDump,
  type: 'SecretsConfigDump' | 'EcdsConfigDump',
  format: 'json' | 'yaml',
): Promise<void> {
  const desc =
    type === 'SecretsConfigDump'
      ? (await import('../../api/gen/envoy/admin/v3/config_dump_pb.js')).SecretsConfigDumpSchema
      : (await import('../../api/gen/envoy/admin/v3/config_dump_shared_pb.js')).EcdsConfigDumpSchema
  const [message] = await camelJson(desc, [dump.section(type) as Dumped['raw']])
  await printStructured(message, format)
}

async function showAll(pod: string | undefined, options: Options): Promise<void> {
  const format = outputFormat(options.output, FORMATS)
  const whole = await readAdmin(pod, '/config_dump?include_eds', options)
  if (format === 'json') {
    console.log(whole)
    return
  }
  const dump = new ConfigDump(whole)
  if (format === 'yaml') {
    await printStructured(dump.raw, format)
    return
  }
  const verbose = isVerbose(options)
  const endpoints = { address: text(options.address), port: portOption(options.port), cluster: '', status: '' }
  const parts = [
    ['BOOTSTRAP', bootstrapText(dump)],
    ['CLUSTER', clusterTable(clusters(dump, clusterFilter(options)), true)],
    ['LISTENER', listenerTable(listeners(dump, listenerFilter(options)), verbose, true)],
    ['ROUTE', routeTable(routes(dump, text(options.name)), verbose, true)],
    ['SECRET', secretTable(dump, new Date(), true)],
    ['ENDPOINTS', edsTable(loadAssignments(dump), endpoints, true)],
  ]
  const heading = (name: string) => (options.withHeaders ? `------ ${name} INFO ------\n\n` : '')
  process.stdout.write(parts.map(([name = '', table = '']) => `${heading(name)}${table}`).join('\n'))
}

const LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off']

/** Shows or changes log levels. Istio's default level is warning. */
async function logLevels(pod: string | undefined, options: Options): Promise<void> {
  if (options.file !== undefined) throw new UserError('log levels are those of a running proxy: name a pod')
  const selector = text(options.selector)
  if (pod === undefined && selector === '') throw new UserError('log requires pod name or --selector')
  if (options.reset && options.level) throw new UserError('--level cannot be combined with --reset')
  const queries = options.reset ? ['level=warning'] : levelQueries(text(options.level))
  const access = await localAccess()
  const pods =
    pod === undefined
      ? await selectedPods(access, options.namespace, selector)
      : [await access.findPod(pod, options.namespace)]
  for (const ref of pods) {
    let answer = ''
    if (queries.length > 0) checkLoggers(queries, await adminRequest(access, ref, 'POST', '/logging', options))
    for (const query of queries.length > 0 ? queries : ['']) {
      answer = await adminRequest(access, ref, 'POST', query ? `/logging?${query}` : '/logging', options)
    }
    process.stdout.write(`${ref.name}.${ref.namespace}:\n${answer}`)
  }
}

/** Nothing is changed when one of the loggers is none of the proxy's. */
function checkLoggers(queries: readonly string[], loggers: string): void {
  const known = new Set([...loggers.matchAll(/^\s*([\w.-]+):\s/gm)].map(([, name]) => name))
  for (const query of queries) {
    const name = decodeURIComponent(query.split('=')[0]!)
    if (name !== 'level' && !known.has(name)) throw new UserError(`unrecognized logger name: ${name}`)
  }
}

async function selectedPods(access: MeshAccess, namespace: string, selector: string): Promise<PodRef[]> {
  const wanted = selector.split(',').map((pair) => pair.split('=', 2) as [string, string | undefined])
  const found = (await access.objects('Pod', namespace)).filter(({ metadata }) =>
    wanted.every(([key, value]) =>
      value === undefined ? key in (metadata.labels ?? {}) : metadata.labels?.[key] === value,
    ),
  )
  if (found.length === 0) throw new UserError(`no pods found for selector ${selector} in namespace ${namespace}`)
  return found.map(({ metadata }) => ({ name: metadata.name, namespace }))
}

/** Two pods can talk when they have a root certificate in common. */
async function compareRoots(first: string, second: string, options: Options): Promise<void> {
  const access = await localAccess()
  const [a, b] = [await access.findPod(first, options.namespace), await access.findPod(second, options.namespace)]
  const rootsOf = async (pod: PodRef) =>
    rootCertificates(new ConfigDump(await adminRequest(access, pod, 'GET', '/config_dump', options)))
  const [left, right] = [await rootsOf(a), await rootsOf(b)]
  const both = `Both [${a.name}.${a.namespace}] and [${b.name}.${b.namespace}] have the`
  if (!left.some((root) => right.includes(root))) {
    throw new UserError(`${both} non identical ROOTCA, theoretically the connectivity between them is unavailable`)
  }
  console.log(`${both} identical ROOTCA, theoretically the connectivity between them is available`)
}

/** `http:debug,info` → the queries of /logging, the general level first. */
function levelQueries(levels: string): string[] {
  const general: string[] = []
  const single: string[] = []
  for (const part of levels.split(',').filter(Boolean)) {
    // A logger may stand behind a namespace (`ns::http`), and `=` for the colon.
    const [first, second] = part.split('::').at(-1)!.split(/[:=]/, 2) as [string, string | undefined]
    const level = (second ?? first) === 'none' ? 'off' : (second ?? first)
    if (!LEVELS.includes(level)) throw new UserError(`unrecognized logging level: ${level}; use ${LEVELS.join(', ')}`)
    if (second === undefined) general.push(`level=${level}`)
    else single.push(`${encodeURIComponent(first)}=${level}`)
  }
  return [...general, ...single]
}
