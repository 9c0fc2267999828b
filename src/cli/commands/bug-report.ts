import { readFileSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import type { Command } from 'commander'
import { errorText, UserError } from '../../base/errors.ts'
import { VERSION } from '../../base/version.ts'
import type { AnalysisItem } from '../../config/index.ts'
import type { MeshAccess, PodRef } from '../access.ts'
import { localAccess } from '../envoy/source.ts'
import { tarArchive } from '../tar.ts'

interface Options {
  readonly filename: string
  readonly istioNamespace: string
  readonly logLines: string
  readonly dryRun?: boolean
}

interface Entry {
  readonly path: string
  readonly content: string
}

/** Admin pages of each proxy. Keys and tokens are redacted by the proxy itself. */
const PROXY_PAGES = [
  'config_dump?include_eds',
  'clusters?format=json',
  'listeners',
  'stats/prometheus',
  'server_info',
  'certs',
  'memory',
  'runtime',
]
/** Beside the debug pages, of which those about one proxy are left out: its own pages tell the same. */
const PILOT_PAGES = ['metrics', 'version']
const PAGES_OF_PROXIES: ReadonlySet<string> = new Set(['config_dump', 'ecdsz', 'edsz', 'ndsz', 'sidecarz'])
/** Secrets are left out on purpose, and ConfigMaps outside of the control plane's namespace. */
const KUBERNETES_KINDS = [
  'Namespace',
  'Node',
  'Service',
  'ServiceAccount',
  'EndpointSlice.discovery.k8s.io',
  'Pod',
  'Deployment.apps',
  'ReplicaSet.apps',
  'Ingress.networking.k8s.io',
]

/** `outrigger bug-report`: what somebody needs to look into a problem, as one archive. */
export function register(program: Command): void {
  program
    .command('bug-report')
    .description('collect configuration, state and logs of the running mesh into an archive (no secrets)')
    .option('--filename <file>', 'archive to write', 'bug-report.tar.gz')
    .option('-i, --istioNamespace <name>', 'namespace of the control plane', 'istio-system')
    .option('--log-lines <count>', 'last lines of each container log', '1000')
    .option('--dry-run', 'only say what would be collected')
    .action(run)
}

async function run(options: Options): Promise<void> {
  const logLines = Number(options.logLines)
  if (!Number.isInteger(logLines) || logLines < 1) {
    throw new UserError(`--log-lines ${options.logLines}: must be a number of lines`, 64)
  }
  const access = await localAccess()
  const pods = await access.objects('Pod')
  const proxies: PodRef[] = pods
    .filter((pod) => containersOf(pod.spec).includes('istio-proxy'))
    .map((pod) => ({ namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name }))
  const kinds = await collectedKinds()
  const pages = await pilotPages(access)
  if (options.dryRun) {
    console.log(
      `${kinds.length} kinds of objects, ${pages.length} control plane pages, ${PROXY_PAGES.length} pages of each of ${proxies.length} proxies, logs of ${pods.length} pods and of the node`,
    )
    return
  }
  const entries: Entry[] = [{ path: 'versions', content: versions() }]
  for (const kind of kinds) {
    entries.push(await collect(`cluster/${kind}.json`, async () => JSON.stringify(await access.objects(kind), null, 2)))
  }
  const maps = () => access.objects('ConfigMap', options.istioNamespace)
  entries.push(await collect('cluster/ConfigMap.json', async () => JSON.stringify(await maps(), null, 2)))
  entries.push(await collect('analyze.json', () => analysis(access, kinds, options.istioNamespace)))
  for (const page of pages) entries.push(await collect(`istiod/${page}`, () => pilotPage(access, `/${page}`)))
  for (const proxy of proxies) {
    console.error(`${proxy.name}.${proxy.namespace}`)
    for (const page of PROXY_PAGES) {
      const file = page.replace(/\?.*/, '')
      entries.push(
        await collect(`proxies/${proxy.namespace}/${proxy.name}/${file}`, () => proxyPage(access, proxy, `/${page}`)),
      )
    }
  }
  for (const pod of pods) {
    const ref = { namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name }
    for (const container of containersOf(pod.spec)) {
      const path = `logs/${ref.namespace}/${ref.name}/${container}.log`
      entries.push(await collect(path, () => access.podLog(ref, container, logLines)))
    }
  }
  entries.push(await collect('logs/node.log', () => nodeLog(logLines)))
  const { gzipSync } = await import('node:zlib')
  const inFolder = entries.map(({ path, content }) => ({ path: `bug-report/${path}`, content }))
  try {
    writeFileSync(options.filename, gzipSync(tarArchive(inFolder, new Date())))
  } catch (error) {
    throw new UserError(`--filename: ${errorText(error)}`, 1, { cause: error })
  }
  console.log(`wrote ${options.filename}: ${entries.length} files`)
}

async function collectedKinds(): Promise<string[]> {
  const { GATEWAY_API_KINDS, gatewayApiGroupKind, ISTIO_KINDS, istioGroupKind } = await import('../../config/index.ts')
  return [...KUBERNETES_KINDS, ...ISTIO_KINDS.map(istioGroupKind), ...GATEWAY_API_KINDS.map(gatewayApiGroupKind)]
}

async function pilotPages(access: MeshAccess): Promise<string[]> {
  const names = JSON.parse(await pilotPage(access, '/debug/list')) as string[]
  const shown = names.filter((name) => !name.includes('?') && !PAGES_OF_PROXIES.has(name))
  return [...shown.map((name) => `debug/${name}`), ...PILOT_PAGES]
}

/** What `analyze` says of the whole mesh. */
async function analysis(access: MeshAccess, kinds: readonly string[], istioNamespace: string): Promise<string> {
  const { analyze } = await import('../../config/index.ts')
  const lists = await Promise.all([...kinds, 'ConfigMap', 'Secret'].map((kind) => access.objects(kind)))
  const objects = lists.flat() as AnalysisItem['object'][]
  const items = objects.map((object) => ({ object, hasNamespace: true, reference: () => '' }))
  const options = { namespace: 'default', istioNamespace, rootNamespace: istioNamespace, proxyMetadata: {} }
  return JSON.stringify(analyze(items, options), null, 2)
}

/** The log of the control plane and the node, which are one process. */
async function nodeLog(lines: number): Promise<string> {
  const { stateDir } = await import('../../local/index.ts')
  return readFileSync(stateDir().supervisorLog, 'utf8')
    .split('\n')
    .slice(-lines - 1)
    .join('\n')
}

/** What cannot be had is part of the report: the file says why. */
async function collect(path: string, read: () => Promise<string>): Promise<Entry> {
  try {
    return { path, content: await read() }
  } catch (error) {
    return { path: `${path}.error`, content: `${errorText(error)}\n` }
  }
}

async function pilotPage(access: MeshAccess, path: string): Promise<string> {
  return (await access.pilotRequest(path)).body
}

async function proxyPage(access: MeshAccess, pod: PodRef, path: string): Promise<string> {
  return (await access.podRequest(pod, 15000, 'GET', path)).body
}

function containersOf(spec: unknown): string[] {
  const { containers, initContainers } = (spec ?? {}) as Record<string, { name: string }[] | undefined>
  return [...(initContainers ?? []), ...(containers ?? [])].map((container) => container.name)
}

function versions(): string {
  return `outrigger ${VERSION}\nnode ${process.version}\n${process.platform} ${process.arch} ${release()}\n`
}
