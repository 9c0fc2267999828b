// What makes a bare set of namespaces a node: private mounts, a bridge, forwarding. Runs as the first process of the
// private PID namespace, so every mount, link and rule below goes when that process goes.
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readlinkSync, writeFileSync } from 'node:fs'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BRIDGE, CLUSTER_DOMAIN, NODE_IP, SERVICE_CIDR } from './addresses.ts'
import { run } from './run.ts'

/** The installation this code runs from. */
export const PACKAGE_ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

/** Inside the node, everything of ours sits below this folder: readable by the pods' users wherever it came from. */
const BASE = '/run/outrigger'
export const NODE_PATHS = {
  base: BASE,
  package: `${BASE}/package`,
  bin: `${BASE}/bin`,
  cache: `${BASE}/cache`,
  folders: `${BASE}/folders`,
  pods: `${BASE}/pods`,
  /** An empty directory each container's service-account and certificate files are mounted over. */
  secrets: '/run/secrets',
} as const

export interface NodeSetupOptions {
  /** Host folder for compile caches, kept between meshes. */
  readonly cacheDir: string
  /** Host folders that must stay visible after /run became private. */
  readonly keepVisible: readonly string[]
  /** The stock Envoy binary, when this mesh may run it. */
  readonly envoyBinary?: string
}

/** Prepares mounts and network of the node. Must run in fresh mount and network namespaces: it shadows /run. */
export async function setUpNode(options: NodeSetupOptions): Promise<void> {
  await setUpMounts(options)
  await setUpNetwork()
}

async function setUpMounts({ cacheDir, keepVisible, envoyBinary }: NodeSetupOptions): Promise<void> {
  // Opened before /run is shadowed: any of these may lie below it.
  const held = [PACKAGE_ROOT, cacheDir, process.execPath, ...(envoyBinary ? [envoyBinary] : []), ...keepVisible].map(
    (path) => ({ path, fd: openSync(path, 'r') }),
  )
  const bindHeld = (path: string, target: string) => bindFd(held.find((entry) => entry.path === path)!.fd, target)
  const resolvConf = linkTarget('/etc/resolv.conf')
  await run('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run'])
  for (const dir of [NODE_PATHS.package, NODE_PATHS.bin, NODE_PATHS.cache, NODE_PATHS.folders, NODE_PATHS.pods]) {
    mkdirSync(dir, { recursive: true })
  }
  mkdirSync(NODE_PATHS.secrets, { recursive: true })
  mkdirSync('/run/lock', { recursive: true })
  // A resolver's stub file below /run is gone now; pods need the path to mount their own over.
  if (resolvConf?.startsWith('/run/')) {
    mkdirSync(dirname(resolvConf), { recursive: true })
    writeFileSync(resolvConf, '')
  }
  await useClusterDns()
  await bindHeld(PACKAGE_ROOT, NODE_PATHS.package)
  await bindHeld(cacheDir, NODE_PATHS.cache)
  // Node keeps one compile cache a user in there; every pod's user makes its own.
  chmodSync(NODE_PATHS.cache, 0o1777)
  for (const [name, path] of Object.entries({ node: process.execPath, envoy: envoyBinary })) {
    if (!path) continue
    writeFileSync(join(NODE_PATHS.bin, name), '')
    await bindHeld(path, join(NODE_PATHS.bin, name))
  }
  for (const path of keepVisible) {
    if (existsSync(path)) continue
    mkdirSync(path, { recursive: true })
    await bindHeld(path, path)
  }
  for (const { fd } of held) closeSync(fd)
}

/** The control plane, too, finds Services by name: it asks for JSON Web Key Sets, for one. */
async function useClusterDns(): Promise<void> {
  if (!existsSync('/etc/resolv.conf')) return
  const file = join(NODE_PATHS.base, 'resolv.conf')
  const search = ['istio-system.svc', 'svc', ''].map((name) => (name ? `${name}.${CLUSTER_DOMAIN}` : CLUSTER_DOMAIN))
  writeFileSync(file, `search ${search.join(' ')}\nnameserver ${NODE_IP}\noptions ndots:5\n`)
  await run('mount', ['--bind', file, '/etc/resolv.conf'])
}

/** Binds an open file or directory: works although its path may be shadowed by now (hence no canonical path). */
function bindFd(fd: number, target: string): Promise<string> {
  return run('mount', ['--no-canonicalize', '--bind', `/proc/${process.pid}/fd/${fd}`, target])
}

function linkTarget(path: string): string | undefined {
  try {
    return resolve(dirname(path), readlinkSync(path))
  } catch {
    return undefined // not a link: the file itself is the mount point
  }
}

async function setUpNetwork(): Promise<void> {
  await run('ip', ['-batch', '-'], {
    input: [
      'link set lo up',
      `link add ${BRIDGE} type bridge`,
      `addr add ${NODE_IP}/16 dev ${BRIDGE}`,
      `link set ${BRIDGE} up`,
      // Service addresses nobody answers for must have a way to the rule that refuses them.
      `route add ${SERVICE_CIDR} dev ${BRIDGE}`,
    ].join('\n'),
  })
  // Pods reach each other through the node, so that service address translation sees both directions of a
  // connection; telling them of the shorter way over the bridge would take one direction out of its sight.
  const sysctl = (name: string, value: string) => writeFileSync(`/proc/sys/net/${name}`, value)
  sysctl('ipv4/ip_forward', '1')
  sysctl('ipv4/conf/all/send_redirects', '0')
  sysctl(`ipv4/conf/${BRIDGE}/send_redirects`, '0')
  // Where br_netfilter is loaded the bridge would translate addresses itself, before routing, and skip masquerading.
  if (existsSync('/proc/sys/net/bridge')) sysctl('bridge/bridge-nf-call-iptables', '0')
}

const boundFolders = new Map<string, string>()

/**
 * The path under which containers see `path` of the host. Folders of the installation are mounted already; others
 * are mounted on first use, because containers run as users who may not walk the way there (a home directory).
 */
export async function visibleInContainers(path: string): Promise<string> {
  const inside = relative(PACKAGE_ROOT, path)
  if (!inside.startsWith(`..${sep}`) && inside !== '..' && !isAbsolute(inside)) return join(NODE_PATHS.package, inside)
  let target = boundFolders.get(path)
  if (!target) {
    target = join(NODE_PATHS.folders, String(boundFolders.size))
    boundFolders.set(path, target)
    mkdirSync(target, { recursive: true })
    await run('mount', ['--bind', path, target])
  }
  return target
}
