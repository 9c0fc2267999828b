import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'

interface LogsOptions {
  namespace: string
  container?: string
  follow?: boolean
  tail?: string
  previous?: boolean
}

/** `outrigger logs POD [-c CONTAINER] [-f]`. */
export function register(program: Command): void {
  program
    .command('logs <pod> [container]')
    .description("print a container's output; POD is a pod's name or deploy/NAME")
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .option('-c, --container <name>', 'container of the pod; the application when not given')
    .option('-f, --follow', 'keep printing what is added')
    .option('--tail <lines>', 'start at the last lines')
    .option('-p, --previous', "print the output of the container's run before this one")
    .action(async (pod: string, container: string | undefined, options: LogsOptions) => {
      if (options.tail !== undefined && !/^\d+$/.test(options.tail)) {
        throw new UserError(`--tail ${options.tail}: must be a number of lines`, 64)
      }
      const { LocalClient } = await import('../../local/index.ts')
      const stream = await new LocalClient().logs({
        namespace: options.namespace,
        pod: pod.replace(/^pods?\//, ''),
        container: options.container ?? container,
        follow: options.follow,
        tail: options.tail === undefined ? undefined : Number(options.tail),
        previous: options.previous,
      })
      const { pipeline } = await import('node:stream/promises')
      await pipeline(stream, process.stdout, { end: false })
    })
}
