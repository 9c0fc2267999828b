import { spawn } from 'node:child_process'
import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { ForwardTarget } from '../../local/index.ts'
import type { MeshAccess, PodRef } from '../access.ts'
import { localAccess } from '../envoy/source.ts'
import { portOption } from '../output.ts'

interface Options {
  readonly port?: string
  readonly address: string
  readonly browser: string
}

interface PodOptions extends Options {
  readonly namespace: string
  readonly selector?: string
  readonly uiPort: string
}

/** Web interfaces that a user brings along, found by the labels of Istio's samples. */
const ADDONS = [
  { name: 'prometheus', selector: 'app.kubernetes.io/name=prometheus', port: 9090, path: '' },
  { name: 'grafana', selector: 'app.kubernetes.io/name=grafana', port: 3000, path: '' },
  { name: 'kiali', selector: 'app=kiali', port: 20001, path: '/kiali' },
  { name: 'jaeger', selector: 'app=jaeger', port: 16686, path: '' },
  { name: 'zipkin', selector: 'app=zipkin', port: 9411, path: '' },
  { name: 'skywalking', selector: 'app=skywalking-ui', port: 8080, path: '' },
] as const

const ISTIO_NAMESPACE = 'istio-system'
const CONTROLZ_PORT = 9876
const MONITORING_PORT = 15014

/** `outrigger dashboard …`: a port of this machine that leads to a web interface in the mesh, and a browser on it. */
export function register(program: Command): void {
  const dashboard = program
    .command('dashboard')
    .aliases(['dash', 'd'])
    .description('open a web interface of the mesh: proxy, istiod-debug, controlz, or one deployed in it')
  const page = (name: string, description: string): Command =>
    dashboard
      .command(name)
      .description(description)
      .option('-p, --port <port>', 'port of this machine to listen on (default: that of the page, else a free one)')
      .option('--address <address>', 'address of this machine to listen on', 'localhost')
      .option('--browser <bool>', 'false: print the address, open no browser', 'true')
  page('proxy [pod]', "the admin interface of a pod's proxy")
    .alias('envoy')
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .option('-l, --selector <labels>', 'labels of the pod in place of its name: key=value, several joined by commas')
    .option('--ui-port <port>', "the proxy's admin port", '15000')
    .action(openProxy)
  page('istiod-debug [name]', "the control plane's debug pages").action((name: string | undefined, options: Options) =>
    openControlPlane(name, MONITORING_PORT, '/debug', options),
  )
  page('controlz [name]', "the control plane's log scopes").action((name: string | undefined, options: Options) =>
    openControlPlane(name, CONTROLZ_PORT, '/scopej', options),
  )
  for (const { name, selector, port, path } of ADDONS) {
    page(name, `of a pod with the label ${selector}`)
      .option('-n, --namespace <name>', `namespace of the pod, beside ${ISTIO_NAMESPACE}`, 'default')
      .option('--ui-port <port>', 'port of the pod', String(port))
      .action(async (options: PodOptions) => {
        const access = await localAccess()
        const pod =
          (await selected(access, selector, ISTIO_NAMESPACE)) ?? (await selected(access, selector, options.namespace))
        if (!pod) throw new UserError(`no pods found with selector ${selector}`)
        await open(loopback(pod, uiPort(options.uiPort)), uiPort(options.uiPort), path, options)
      })
  }
}

async function openProxy(name: string | undefined, options: PodOptions): Promise<void> {
  if (name === undefined && options.selector === undefined) throw new UserError('specify a pod or --selector', 64)
  if (name !== undefined && options.selector !== undefined)
    throw new UserError('name cannot be provided when a selector is specified', 64)
  const access = await localAccess()
  const pod =
    name === undefined
      ? await selected(access, options.selector!, options.namespace)
      : await access.findPod(name, options.namespace)
  if (!pod) throw new UserError('no pods found')
  await open(loopback(pod, uiPort(options.uiPort)), uiPort(options.uiPort), '', options)
}

/** The control plane of a local mesh is one process, whatever pod of istiod is asked for. */
async function openControlPlane(name: string | undefined, port: number, path: string, options: Options): Promise<void> {
  if (name !== undefined && !/^((deploy|deployment|pod|po)\/)?istiod\b/.test(name))
    throw new UserError(`"${name}": only the control plane has this interface; leave the name out`, 64)
  await open({ nodePort: port }, port, path, options)
}

function loopback(pod: PodRef, port: number): ForwardTarget {
  return { pod: pod.name, namespace: pod.namespace, loopbackPort: port }
}

function uiPort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new UserError(`"${text}" is not a port`, 64)
  return port
}

async function selected(access: MeshAccess, selector: string, namespace: string): Promise<PodRef | null> {
  const wanted = selector.split(',').map((pair) => {
    const [key = '', value] = pair.trim().split(/==?/)
    if (key === '' || value === undefined) throw new UserError(`--selector "${pair}": write key=value`, 64)
    return [key, value] as const
  })
  const pods = await access.objects('Pod', namespace)
  const found = pods.find(({ metadata }) => wanted.every(([key, value]) => metadata.labels?.[key] === value))
  return found ? { name: found.metadata.name, namespace } : null
}

/** Listens, prints the URL, opens it, and serves until interrupted. */
async function open(target: ForwardTarget, port: number, path: string, options: Options): Promise<void> {
  if (!/^(true|false)$/.test(options.browser))
    throw new UserError(`--browser ${options.browser}: must be true or false`, 64)
  const { forwardPort, runningMesh, stateDir } = await import('../../local/index.ts')
  const state = stateDir()
  if (!runningMesh(state)) throw new UserError('no mesh is running here; start one with: outrigger up DIR')
  const asked = portOption(options.port)
  const preferred = asked === 0 ? [port, 0] : [asked]
  let bound = 0
  for (const [i, local] of preferred.entries()) {
    try {
      bound = (await forwardPort(options.address, local, state, target)).port
      break
    } catch (error) {
      if (i < preferred.length - 1) continue
      throw new UserError(`cannot listen on ${options.address}:${local}: ${(error as Error).message}`)
    }
  }
  const host = options.address.includes(':') ? `[${options.address}]` : options.address
  show(`http://${host}:${bound}${path}`, options.browser === 'true')
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  process.exit(0)
}

function show(url: string, browser: boolean): void {
  process.stdout.write(`${url}\n`)
  if (!browser) {
    process.stdout.write('skipping opening a browser')
    return
  }
  const failed = `Failed to open browser; open ${url} in your browser.\n`
  const child = spawn(process.platform === 'darwin' ? 'open' : 'xdg-open', [url], { stdio: 'ignore', detached: true })
  child.once('error', () => process.stdout.write(failed))
  child.unref()
}
