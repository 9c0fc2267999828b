import type { Command } from 'commander'
import type { DiscoveryResponse } from '../../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { UserError } from '../../base/errors.ts'
import type { MeshAccess, MeshObject } from '../access.ts'
import {
  addControlPlaneFlags,
  askControlPlane,
  type ControlPlaneFlags,
  DEBUG_TYPE,
  identityOf,
  SYNC_TYPE,
} from '../control-plane.ts'
import { type DescribedMesh, describePod, describeService } from '../describe/index.ts'
import { authorizationTable } from '../envoy/authorization.ts'
import { ConfigDump } from '../envoy/config-dump.ts'
import { adminRequest, localAccess, readAdmin, type SourceOptions } from '../envoy/source.ts'
import type { Injector, InjectorWebhook } from '../injectors.ts'
import { printStructured } from '../output.ts'
import { registerPrecheck } from './precheck.ts'
import { registerProxyStatus } from './proxy-status.ts'
import { registerVersion } from './version.ts'

interface Options {
  readonly namespace: string
}

/** `outrigger x …`: istioctl's experimental commands. */
export function register(program: Command): void {
  const x = program
    .command('x')
    .aliases(['experimental', 'exp'])
    .description(
      'authz check, check-inject, describe pod, describe service, envoy-stats, internal-debug, metrics, precheck, proxy-status, version',
    )
  const describe = x.command('describe').alias('des').description('what concerns one pod or service')
  describe
    .command('pod <pod>')
    .alias('po')
    .description('services, routes, subsets, mTLS and exposure of a pod')
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .option('--ignoreUnmeshed', 'say nothing of pods without a sidecar')
    .option('--proxy-admin-port <port>', "the proxies' admin port", '15000')
    .action(showPod)
  describe
    .command('service <service>')
    .alias('svc')
    .description('ports, routes, subsets, mTLS and exposure of a service')
    .option('-n, --namespace <name>', 'namespace of the service', 'default')
    .option('--ignoreUnmeshed', 'say nothing of pods without a sidecar')
    .option('--proxy-admin-port <port>', "the proxies' admin port", '15000')
    .action(showService)
  x.command('check-inject [pod]')
    .description('whether a pod is injected, and why: of a pod (POD, deployment/NAME), or of labels in a namespace')
    .option('-n, --namespace <name>', 'namespace of the pod or the labels', 'default')
    .option('-l, --labels <labels>', 'labels a pod would have: key=value, several joined by commas')
    .action(checkInject)
  x.command('authz')
    .description('check: which policies a proxy enforces')
    .command('check [pod]')
    .description('the AuthorizationPolicies that a proxy enforces, read from its configuration')
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .option('-f, --file <file>', 'read a config dump from this file (- = standard input)')
    .option('--proxy-admin-port <port>', "the proxy's admin port", '15000')
    .action(authzCheck)
  x.command('envoy-stats [pod]')
    .alias('es')
    .description("a proxy's stats, or its clusters and their hosts")
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .option(
      '-o, --output <format>',
      'short, prom, prom-merged (with those of agent and application), json or yaml',
      'short',
    )
    .option('-t, --type <type>', 'server or clusters', 'server')
    .option('--proxy-admin-port <port>', "the proxy's admin port", '15000')
    .action(envoyStats)
  x.command('metrics <workloads...>')
    .alias('m')
    .description('requests, errors and latencies of workloads (NAME or NAME.NAMESPACE), watched for a while')
    .option('-d, --duration <duration>', 'how long to watch', '10s')
    .action(metrics)
  const debug = x
    .command('internal-debug [page]')
    .description("one of the control plane's debug pages, for example syncz or config_dump?proxyID=POD.NAMESPACE")
    .option('-L, --list', 'list the pages')
    .option('--all', 'of every instance of the control plane, by its name')
  addControlPlaneFlags(debug).action(internalDebug)
  registerPrecheck(x)
  registerProxyStatus(x)
  registerVersion(x)
}

interface DescribeFlags extends Options {
  readonly ignoreUnmeshed?: boolean
  readonly proxyAdminPort: string
}

const ROOT_NAMESPACE = 'istio-system'
const write = (text: string) => void process.stdout.write(text)

async function meshOf(access: MeshAccess, flags: DescribeFlags): Promise<DescribedMesh> {
  const istio = (kind: string, group: string) => access.objects(`${kind}.${group}.istio.io`)
  const [services, pods, destinationRules, virtualServices, gateways, peerAuthentications, configMaps] =
    await Promise.all([
      access.objects('Service'),
      access.objects('Pod'),
      istio('DestinationRule', 'networking'),
      istio('VirtualService', 'networking'),
      istio('Gateway', 'networking'),
      istio('PeerAuthentication', 'security'),
      access.objects('ConfigMap', ROOT_NAMESPACE),
    ])
  return {
    services,
    pods,
    destinationRules,
    virtualServices,
    gateways,
    peerAuthentications,
    rootNamespace: await rootNamespaceOf(configMaps),
    dumpOf: async ({ metadata: { name, namespace = 'default' } }) =>
      new ConfigDump(await adminRequest(access, { name, namespace }, 'GET', '/config_dump', flags)),
  }
}

/** As the ConfigMap `istio` has it, where there is one. */
async function rootNamespaceOf(configMaps: readonly (MeshObject & { readonly data?: unknown })[]): Promise<string> {
  const map = configMaps.find(({ metadata }) => metadata.name === 'istio')
  const text = (map?.data as { readonly mesh?: string } | undefined)?.mesh
  if (!text) return ROOT_NAMESPACE
  const { parse } = await import('yaml')
  return (parse(text) as { readonly rootNamespace?: string } | null)?.rootNamespace ?? ROOT_NAMESPACE
}

async function showPod(name: string, flags: DescribeFlags): Promise<void> {
  const access = await localAccess()
  const ref = await access.findPod(name, flags.namespace)
  const mesh = await meshOf(access, flags)
  const pod = mesh.pods.find((p) => p.metadata.name === ref.name && p.metadata.namespace === ref.namespace)!
  await describePod(mesh, pod, { namespace: flags.namespace, ignoreUnmeshed: flags.ignoreUnmeshed ?? false }, write)
}

async function showService(name: string, flags: DescribeFlags): Promise<void> {
  const access = await localAccess()
  const dot = name.lastIndexOf('.')
  const [short, namespace] = dot > 0 ? [name.slice(0, dot), name.slice(dot + 1)] : [name, flags.namespace]
  const mesh = await meshOf(access, flags)
  const service = mesh.services.find((s) => s.metadata.name === short && s.metadata.namespace === namespace)
  if (!service) throw new UserError(`services "${short}" not found in namespace ${namespace}`)
  const options = { namespace: flags.namespace, ignoreUnmeshed: flags.ignoreUnmeshed ?? false }
  await describeService(mesh, service, options, write)
}

async function authzCheck(pod: string | undefined, options: SourceOptions): Promise<void> {
  const dump = new ConfigDump(await readAdmin(pod, '/config_dump', options))
  process.stdout.write(authorizationTable(dump))
}

interface StatsOptions extends SourceOptions {
  readonly output: string
  readonly type: string
}

const STATS_PATHS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  server: { short: '/stats', json: '/stats?format=json', yaml: '/stats?format=json', prom: '/stats/prometheus' },
  clusters: { short: '/clusters', json: '/clusters?format=json', yaml: '/clusters?format=json' },
}
const AGENT_STATUS_PORT = '15020'

async function envoyStats(pod: string | undefined, options: StatsOptions): Promise<void> {
  if (pod === undefined) throw new UserError('name a pod (NAME or NAME.NAMESPACE)')
  const paths = STATS_PATHS[options.type]
  if (!paths) throw new UserError(`--type ${options.type}: must be server or clusters`)
  const merged = options.output === 'prom-merged' && options.type === 'server'
  const path = merged ? '/stats/prometheus' : paths[options.output]
  if (path === undefined) {
    const known = [...Object.keys(paths), ...(options.type === 'server' ? ['prom-merged'] : [])]
    throw new UserError(`output format "${options.output}" not supported; use ${known.join(', ')}`)
  }
  const source = merged ? { ...options, proxyAdminPort: AGENT_STATUS_PORT } : options
  const text = await readAdmin(pod, path, source)
  if (options.output === 'json' || options.output === 'yaml') await printStructured(JSON.parse(text), options.output)
  else process.stdout.write(text)
}

async function metrics(workloads: string[], options: { readonly duration: string }): Promise<void> {
  const { parseDuration } = await import('../../config/index.ts')
  const ms = parseDuration(options.duration)
  if (ms === undefined || ms <= 0)
    throw new UserError(`--duration ${options.duration}: write for example 10s or 1m`, 64)
  const access = await localAccess()
  const { addCounts, metricsHeader, metricsRow, noCounts, ratesBetween } = await import('../workload-metrics.ts')
  const named = workloads.map((text) => {
    const [name = '', namespace = ''] = text.split('.')
    return { text, name, namespace }
  })
  const look = async () => {
    const all = named.map(noCounts)
    const at = performance.now()
    for (const stats of await proxyStats(access, named)) {
      for (const [i, { name, namespace }] of named.entries()) addCounts(all[i]!, stats, name, namespace)
    }
    return { all, at }
  }
  const before = await look()
  await new Promise((resolve) => setTimeout(resolve, ms))
  const after = await look()
  process.stdout.write(metricsHeader())
  for (const [i, { text }] of named.entries()) {
    process.stdout.write(metricsRow(text, ratesBetween(before.all[i]!, after.all[i]!, (after.at - before.at) / 1000)))
  }
}

/** The stats of every proxy that may belong to one of the workloads. */
async function proxyStats(
  access: MeshAccess,
  workloads: readonly { readonly name: string; readonly namespace: string }[],
): Promise<string[]> {
  const pods = (await access.objects('Pod')).filter(({ metadata, status }) => {
    const { name, namespace = 'default' } = metadata
    const running = (status as { readonly phase?: string } | undefined)?.phase === 'Running'
    const wanted = workloads.some((one) => name.startsWith(one.name) && namespace.startsWith(one.namespace))
    return running && wanted
  })
  if (pods.length === 0) throw new UserError(`no pod of ${workloads.map(({ name }) => name).join(', ')} is running`)
  const answers = await Promise.allSettled(
    pods.map(({ metadata: { name, namespace = 'default' } }) =>
      access.podRequest({ name, namespace }, 15000, 'GET', '/stats/prometheus'),
    ),
  )
  const stats = answers.flatMap((one) =>
    one.status === 'fulfilled' && one.value.status === 200 ? [one.value.body] : [],
  )
  if (stats.length === 0) throw new UserError('none of the pods has a proxy that answers')
  return stats
}

interface DebugOptions extends ControlPlaneFlags {
  readonly list?: boolean
  readonly all?: boolean
}

async function internalDebug(page: string | undefined, options: DebugOptions): Promise<void> {
  if (page === undefined && !options.list) {
    throw new UserError('debug type is required, you can specify --list flag to list supported debug types', 64)
  }
  let answer = await askControlPlane(DEBUG_TYPE, [page?.replace(/^\/?(debug\/)?/, '') ?? 'list'], options)
  const text = pageText(answer)
  if (text.includes('You must provide a proxyID in the query string')) {
    throw new UserError('You must provide a proxyID in the query string, e.g. [edsz?proxyID=istio-ingressgateway]')
  }
  if (text.includes('404 page not found')) {
    console.log('error: according to below command list, please check all supported internal debug commands')
    answer = await askControlPlane(DEBUG_TYPE, ['list'], options)
  }
  // Only answers to sync questions name the instance.
  const instance = options.all ? identityOf(await askControlPlane(SYNC_TYPE, [], options)).ID : null
  process.stdout.write(`${debugText(pageText(answer), instance)}\n`)
}

function pageText({ resources }: DiscoveryResponse): string {
  return Buffer.from(resources[0]?.value ?? new Uint8Array()).toString('utf8')
}

/** JSON with two spaces, other text as it is; with an instance, as the value of its name. */
function debugText(text: string, instance: string | null): string {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return instance === null ? text : JSON.stringify({ [instance]: text }, null, 2)
  }
  return JSON.stringify(instance === null ? json : { [instance]: json }, null, 2)
}

async function checkInject(name: string | undefined, options: Options & { readonly labels?: string }): Promise<void> {
  if ((name === undefined) === (options.labels === undefined)) {
    throw new UserError('check-inject requires only [<resource-type>/]<resource-name>[.<namespace>], or labels (-l)')
  }
  const access = await localAccess()
  const ref = name === undefined ? null : await access.findPod(name, options.namespace)
  const namespace = ref?.namespace ?? options.namespace
  const [pods, namespaces, configurations] = await Promise.all([
    ref ? access.objects('Pod', namespace) : [],
    access.objects('Namespace'),
    access.objects('MutatingWebhookConfiguration.admissionregistration.k8s.io'),
  ])
  const owner = namespaces.find(({ metadata }) => metadata.name === namespace)
  if (!owner) throw new UserError(`namespaces "${namespace}" not found`)
  const labels = ref
    ? (pods.find(({ metadata }) => metadata.name === ref.name)?.metadata.labels ?? {})
    : labelPairs(options.labels!)
  const { DEFAULT_INJECTOR, injectorTable, judgeInjectors } = await import('../injectors.ts')
  const written = configurations.map((object) => injectorOf(object)).filter((one) => one !== null)
  const injectors = written.length > 0 ? written : [DEFAULT_INJECTOR]
  const verdicts = judgeInjectors(injectors, labels, owner.metadata.labels ?? {})
  process.stdout.write(injectorTable(verdicts))
}

/** Null: a webhook of somebody else. */
function injectorOf(object: MeshObject & { readonly webhooks?: unknown }): Injector | null {
  const webhooks = (Array.isArray(object.webhooks) ? object.webhooks : []) as InjectorWebhook[]
  if (!webhooks.some(({ name }) => name.endsWith('istio.io'))) return null
  return { name: object.metadata.name, revision: object.metadata.labels?.['istio.io/rev'] ?? '', webhooks }
}

function labelPairs(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const equals = pair.indexOf('=')
      if (equals < 1) throw new UserError(`--labels "${pair}": write key=value`, 64)
      return [pair.slice(0, equals), pair.slice(equals + 1)]
    }),
  )
}
