// Byte streams from the host into the mesh's private network: a Unix socket, whose path both sides see, stands between
// the two networks. The client's first line names the target; everything after it is relayed untouched.
import { spawn } from 'node:child_process'
import { chmodSync, rmSync } from 'node:fs'
import * as net from 'node:net'
import type { Store } from '../cluster/index.ts'
import { NODE_IP } from './addresses.ts'
import type { Kubelet } from './kubelet.ts'
import { NODE_PATHS } from './node-setup.ts'
import type { EndpointSlice } from './pod-types.ts'

/** Where a stream goes: a ready endpoint of a Service, a port of the control plane, or a pod's loopback port. */
export type ForwardTarget =
  | { readonly service: string; readonly namespace: string; readonly port: number }
  | { readonly nodePort: number }
  | { readonly pod: string; readonly namespace: string; readonly loopbackPort: number }

const MAX_HEAD_BYTES = 1024
const NEWLINE = 10

/** Relays a pod's loopback port, which only a process in the pod's network namespace can reach. */
const LOOPBACK_RELAY = `
const socket = require('node:net').connect(Number(process.argv[1]), '127.0.0.1')
socket.on('error', () => process.exit(1))
process.stdin.pipe(socket).pipe(process.stdout)
`

interface Cluster {
  readonly store: Store
  readonly kubelet: Kubelet
}

export async function startForwardServer(socketPath: string, cluster: Cluster): Promise<void> {
  rmSync(socketPath, { force: true })
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => accept(client, cluster))
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(socketPath, resolve))
  chmodSync(socketPath, 0o600)
}

function accept(client: net.Socket, cluster: Cluster): void {
  let head = Buffer.alloc(0)
  client.on('error', () => client.destroy())
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk])
    const end = head.indexOf(NEWLINE)
    if (end < 0 && head.length < MAX_HEAD_BYTES) return
    client.off('data', onData)
    client.pause()
    let target: ForwardTarget | null
    try {
      target = JSON.parse(head.subarray(0, end).toString('utf8')) as ForwardTarget | null
    } catch {
      return void client.destroy()
    }
    if (typeof target !== 'object' || target === null) return void client.destroy()
    if (end + 1 < head.length) client.unshift(head.subarray(end + 1))
    connect(client, target, cluster)
  }
  client.on('data', onData)
  client.resume()
}

function connect(client: net.Socket, target: ForwardTarget, { store, kubelet }: Cluster): void {
  if ('pod' in target) {
    const worker = kubelet.worker(target.namespace, target.pod)
    if (!worker?.networkNamespace) return void client.destroy()
    const args = [
      `--net=/run/netns/${worker.networkNamespace}`,
      `${NODE_PATHS.bin}/node`,
      '--eval',
      LOOPBACK_RELAY,
      '--',
      String(target.loopbackPort),
    ]
    const child = spawn('nsenter', args, { stdio: ['pipe', 'pipe', 'ignore'] })
    child.on('error', () => client.destroy())
    child.stdin.on('error', () => {})
    client.pipe(child.stdin)
    child.stdout.pipe(client)
    client.on('close', () => child.kill())
    return
  }
  const address = 'nodePort' in target ? { host: NODE_IP, port: target.nodePort } : serviceEndpoint(store, target)
  if (!address) return void client.destroy()
  const upstream = net.connect({ ...address, allowHalfOpen: true, noDelay: true })
  upstream.on('error', () => client.destroy())
  upstream.on('close', () => client.destroySoon())
  client.on('close', () => upstream.destroy())
  client.pipe(upstream)
  upstream.pipe(client)
}

/** A random ready endpoint of a Service's port. */
function serviceEndpoint(
  store: Store,
  target: { service: string; namespace: string; port: number },
): { host: string; port: number } | undefined {
  const service = store.get('Service', target.namespace, target.service) as
    | { spec?: { ports?: { name?: string; port: number }[] } }
    | undefined
  const portName = service?.spec?.ports?.find((p) => p.port === target.port)?.name ?? ''
  const ready = (store.list('EndpointSlice.discovery.k8s.io', target.namespace) as EndpointSlice[])
    .filter((slice) => slice.metadata.labels?.['kubernetes.io/service-name'] === target.service)
    .flatMap((slice) => {
      const port = slice.ports.find((p) => (p.name ?? '') === portName)?.port
      if (port === undefined) return []
      return slice.endpoints.filter((e) => e.conditions?.ready !== false).map((e) => ({ host: e.addresses[0]!, port }))
    })
  return ready[Math.floor(Math.random() * ready.length)]
}

/** Opens a stream to `target` through the forward socket. Errors and refusals show as the socket's `error` or early end. */
export function openForward(socketPath: string, target: ForwardTarget): net.Socket {
  const socket = net.connect({ path: socketPath, allowHalfOpen: true })
  socket.write(`${JSON.stringify(target)}\n`)
  return socket
}

/** Listens on a host address and relays each connection to `target`. Rejects when the address is taken. */
export async function relayPort(
  host: string,
  port: number,
  socketPath: string,
  target: ForwardTarget,
): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const inside = openForward(socketPath, target)
    client.on('error', () => inside.destroy())
    inside.on('error', () => client.destroy())
    client.on('close', () => inside.destroy())
    inside.on('close', () => client.destroySoon())
    client.pipe(inside)
    inside.pipe(client)
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve))
  return server
}
