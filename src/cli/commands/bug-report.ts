import { writeFileSync } from 'node:fs'
import { release } from 'node:os'
import type { Command } from 'commander'
import { errorText } from '../../base/errors.ts'
import { VERSION } from '../../base/version.ts'
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
const PILOT_PAGES = [
  'debug/syncz',
  'debug/adsz',
  'debug/registryz',
  'debug/endpointShardz',
  'debug/configz',
  'debug/push_status',
  'debug/mesh',
  'metrics',
  'version',
]
/** Secrets are left out on purpose. */
const KINDS = [
  'Namespace',
  'Node',
  'Service',
  'EndpointSlice.discovery.k8s.io',
  'Pod',
  'Deployment.apps',
  'Gateway.networking.istio.io',
  'VirtualService.networking.istio.io',
  'DestinationRule.networking.istio.io',
  'ServiceEntry.networking.istio.io',
  'WorkloadEntry.networking.istio.io',
  'Sidecar.networking.istio.io',
  'EnvoyFilter.networking.istio.io',
  'PeerAuthentication.security.istio.io',
  'RequestAuthentication.security.istio.io',
  'AuthorizationPolicy.security.istio.io',
  'Telemetry.telemetry.istio.io',
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
  const access = await localAccess()
  const pods = await access.objects('Pod')
  const proxies: PodRef[] = pods
    .filter((pod) => containersOf(pod.spec).includes('istio-proxy'))
    .map((pod) => ({ namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name }))
  if (options.dryRun) {
    console.log(
      `${KINDS.length} kinds of objects, ${PILOT_PAGES.length} control plane pages, ${PROXY_PAGES.length} pages of each of ${proxies.length} proxies, logs of ${pods.length} pods`,
    )
    return
  }
  const entries: Entry[] = [{ path: 'versions', content: versions() }]
  for (const kind of KINDS) {
    entries.push(await collect(`cluster/${kind}.json`, async () => JSON.stringify(await access.objects(kind), null, 2)))
  }
  for (const page of PILOT_PAGES) entries.push(await collect(`istiod/${page}`, () => pilotPage(access, `/${page}`)))
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
      entries.push(await collect(path, () => access.podLog(ref, container, Number(options.logLines) || 1000)))
    }
  }
  const { gzipSync } = await import('node:zlib')
  const inFolder = entries.map(({ path, content }) => ({ path: `bug-report/${path}`, content }))
  writeFileSync(options.filename, gzipSync(tarArchive(inFolder, new Date())))
  console.log(`wrote ${options.filename}: ${entries.length} files`)
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
