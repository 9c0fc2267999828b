import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { ForwardTarget } from '../../local/index.ts'

interface Options {
  readonly namespace: string
  readonly address: string
}

/** `outrigger port-forward svc/NAME [LOCAL:]PORT…`: ports of this machine that lead into the mesh, until interrupted. */
export function register(program: Command): void {
  program
    .command('port-forward <type/name> <ports...>')
    .description('lead ports of this machine to a Service or a pod: outrigger port-forward svc/NAME [LOCAL:]PORT')
    .option('-n, --namespace <name>', 'namespace of the Service or pod', 'default')
    .option('--address <address>', 'address of this machine to listen on', '127.0.0.1')
    .action(async (what: string, ports: string[], options: Options) => {
      const { forwardPort, LocalClient, runningMesh, stateDir } = await import('../../local/index.ts')
      const state = stateDir()
      if (!runningMesh(state)) throw new UserError('no mesh is running here; start one with: outrigger up DIR')
      const pairs = ports.map(portPair)
      const targetOf = parseTarget(what, options.namespace)
      const { kind, name } = targetOf
      const found = await new LocalClient().call('list', { kind, namespace: options.namespace })
      if (!found.some(({ metadata }) => metadata.name === name)) {
        throw new UserError(`${kind.toLowerCase()}s "${name}" not found in namespace ${options.namespace}`)
      }
      for (const { local, remote } of pairs) {
        try {
          const { port: bound } = await forwardPort(options.address, local, state, targetOf.at(remote))
          console.log(`Forwarding from ${options.address}:${bound} -> ${remote}`)
        } catch (error) {
          throw new UserError(`cannot listen on ${options.address}:${local}: ${(error as Error).message}`)
        }
      }
      await new Promise<void>((resolve) => {
        process.once('SIGINT', resolve)
        process.once('SIGTERM', resolve)
      })
      process.exit(0)
    })
}

interface Target {
  readonly kind: 'Service' | 'Pod'
  readonly name: string
  readonly at: (port: number) => ForwardTarget
}

function parseTarget(text: string, namespace: string): Target {
  const [type, name] = text.includes('/') ? (text.split('/', 2) as [string, string]) : ['pod', text]
  if (/^(svc|services?)$/.test(type)) {
    return { kind: 'Service', name, at: (port) => ({ service: name, namespace, port }) }
  }
  if (/^(po|pods?)$/.test(type)) {
    return { kind: 'Pod', name, at: (loopbackPort) => ({ pod: name, namespace, loopbackPort }) }
  }
  throw new UserError(`${text}: name a Service (svc/NAME) or a pod (pod/NAME)`, 64)
}

/** `8080:80`, `80` (the same on both sides), `:80` (any free port here). */
function portPair(text: string): { local: number; remote: number } {
  const match = /^(?:(\d*):)?(\d+)$/.exec(text)
  const remote = Number(match?.[2])
  const local = match?.[1] === undefined ? remote : match[1] === '' ? 0 : Number(match[1])
  if (!match || remote < 1 || remote > 65535 || local > 65535) {
    throw new UserError(`"${text}" is not a port: write PORT or LOCAL:PORT, for example 8080:80`, 64)
  }
  return { local, remote }
}
