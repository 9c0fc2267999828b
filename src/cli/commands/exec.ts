import { spawn } from 'node:child_process'
import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'

interface ExecOptions {
  namespace: string
  container?: string
  stdin?: boolean
  tty?: boolean
  user?: string
}

/** `outrigger exec POD [-c CONTAINER] -- COMMAND…`: enters the container's namespaces, as root unless told otherwise. */
export function register(program: Command): void {
  program
    .command('exec <pod> <command...>')
    .description(
      'run a command inside a container: outrigger exec POD -c CONTAINER -- COMMAND; POD is a name or deploy/NAME',
    )
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .option('-c, --container <name>', 'container of the pod; the application when not given')
    .option('-i, --stdin', 'pass standard input on')
    .option('-t, --tty', 'standard input is a terminal (the command always gets yours as it is)')
    .option('-u, --user <uid>', 'user id to run as', '0')
    .action(async (pod: string, command: string[], options: ExecOptions) => {
      if (!/^\d+$/.test(options.user ?? '0')) throw new UserError(`--user ${options.user}: must be a number`, 64)
      const { LocalClient, runningMesh, stateDir } = await import('../../local/index.ts')
      const mesh = runningMesh(stateDir())
      if (!mesh) throw new UserError('no mesh is running here; start one with: outrigger up DIR')
      const request = { namespace: options.namespace, pod: pod.replace(/^pods?\//, ''), container: options.container }
      const { pid, env, workingDir } = await new LocalClient().call('container', request)
      // First into the node, whose process ids the container's is one of, then into the container.
      const intoNode = ['-t', String(mesh.nodePid), '--mount', '--pid', '--', 'nsenter']
      const intoContainer = ['-t', String(pid), '--mount', '--pid', '--net', '--uts', `--wdns=${workingDir}`, '--']
      const user = options.user ?? '0'
      const asUser = user === '0' ? [] : ['setpriv', '--reuid', user, '--regid', user, '--clear-groups', '--']
      const child = spawn('nsenter', [...intoNode, ...intoContainer, ...asUser, ...command], {
        stdio: [options.stdin || options.tty ? 'inherit' : 'ignore', 'inherit', 'inherit'],
        env: { ...env, TERM: process.env.TERM ?? 'dumb' },
      })
      process.exitCode = await new Promise<number>((resolve, reject) => {
        child.on('error', (error) => reject(new UserError(`nsenter: ${error.message}`)))
        child.on('close', (code) => resolve(code ?? 1))
      })
    })
}
