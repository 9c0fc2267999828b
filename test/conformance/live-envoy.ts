// One stock Envoy that takes its configuration from our pilot over ADS and its identity over SDS, alone in a network
// namespace where every address can be bound.
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { type JsonValue, toJson } from '@bufbuild/protobuf'
import { TestNamespace } from '../../src/agent/testing/namespace.ts'
import { NodeSchema } from '../../src/api/gen/envoy/config/core/v3/base_pb.js'
import { grpcCluster } from './grpc-cluster.ts'
import { nodeMessageOf, type ProxyDescription } from './pilot.ts'

const START_LIMIT_MS = 60_000
const POLL_MS = 20

/** Where an Envoy finds its servers: Unix sockets, which reach into any namespace. */
export interface Sockets {
  readonly xds: string
  readonly sds: string
}

/** Lets whoever has only the file system reach a TCP port of loopback. */
export async function forwardSocket(path: string, address: string): Promise<Server> {
  const port = Number(address.slice(address.lastIndexOf(':') + 1))
  const server = createServer((from) => {
    const to = connect(port, '127.0.0.1')
    from.on('error', () => to.destroy()).on('close', () => to.destroy())
    to.on('error', () => from.destroy()).on('close', () => from.destroy())
    from.pipe(to).pipe(from)
  })
  server.listen(path)
  await once(server, 'listening')
  return server
}

/** Starts Envoy as `proxy`, waits until all it subscribed to has been answered, and says what it refused: '' = nothing. */
export async function refusedLive(
  proxy: ProxyDescription,
  dir: string,
  sockets: Sockets,
  whenLoaded: () => Promise<string>,
): Promise<string> {
  mkdirSync(dir, { recursive: true })
  const admin = join(dir, 'admin')
  const file = join(dir, 'bootstrap.json')
  writeFileSync(file, JSON.stringify(bootstrap(proxy, admin, sockets)))
  const namespace = new TestNamespace(proxy.ip.includes(':') ? '192.0.2.1' : proxy.ip)
  try {
    namespace.run('sh', '-c', BIND_ANYTHING)
    const envoy = namespace.spawn(
      ['envoy', '-c', file, '-l', 'critical', '--concurrency', '1', '--disable-hot-restart'],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        cwd: dir,
      },
    )
    const said = text(envoy.stderr!)
    const exited = new AbortController()
    envoy.once('close', () => exited.abort())
    const deadline = Date.now() + START_LIMIT_MS
    for (;;) {
      if (exited.signal.aborted) return `envoy ended: ${(await said).trim()}`
      if (await loaded(admin)) break
      if (Date.now() > deadline) return `not loaded in time: ${(await pending(admin)).join(', ')}`
      await sleep(POLL_MS)
    }
    return await whenLoaded()
  } finally {
    namespace.close()
  }
}

/** Listeners bind the addresses of workloads and services that exist in the input only. */
const BIND_ANYTHING =
  'echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind; echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind; echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start'

/** Every subscription of the configuration has been taken or refused at least once. */
async function loaded(admin: string): Promise<boolean> {
  return (await pending(admin)).length === 0
}

async function pending(admin: string): Promise<string[]> {
  const stats = await statsOf(admin)
  if (!stats) return ['admin']
  const names = ['cluster_manager.cds', 'listener_manager.lds']
  for (const name of Object.keys(stats))
    if (/\.rds\..*\.update_attempt$/.test(name)) names.push(name.replace(/\.[^.]*$/, ''))
  const open = names.filter((name) => !stats[`${name}.update_success`] && !stats[`${name}.update_rejected`])
  if (stats['cluster_manager.warming_clusters'] !== 0) open.push('warming clusters')
  return open
}

async function statsOf(admin: string): Promise<Record<string, number> | null> {
  const page = await get(admin, '/stats?filter=(cds|lds|rds|warming_clusters)')
  if (page === null) return null
  const stats: Record<string, number> = {}
  for (const line of page.split('\n')) {
    const colon = line.lastIndexOf(': ')
    if (colon > 0) stats[line.slice(0, colon)] = Number(line.slice(colon + 2))
  }
  return stats
}

/** null while nobody listens. */
function get(socketPath: string, path: string): Promise<string | null> {
  return new Promise((resolve) => {
    request({ socketPath, path }, (response) => resolve(text(response)))
      .on('error', () => resolve(null))
      .end()
  })
}

function bootstrap(proxy: ProxyDescription, admin: string, { xds, sds }: Sockets): JsonValue {
  const ads = { ads: {}, resourceApiVersion: 'V3', initialFetchTimeout: '0s' }
  const node = toJson(NodeSchema, nodeMessageOf(proxy)) as { [key: string]: JsonValue }
  // Envoy tells its extensions itself.
  delete node.extensions
  return {
    node: { ...node, cluster: proxy.pod },
    admin: { address: { pipe: { path: admin } } },
    dynamicResources: {
      cdsConfig: ads,
      ldsConfig: ads,
      adsConfig: {
        apiType: 'DELTA_GRPC',
        transportApiVersion: 'V3',
        setNodeOnFirstMessageOnly: true,
        grpcServices: [{ envoyGrpc: { clusterName: 'xds-grpc' } }],
      },
    },
    staticResources: { clusters: [grpcCluster('xds-grpc', xds), grpcCluster('sds-grpc', sds)] },
  }
}
