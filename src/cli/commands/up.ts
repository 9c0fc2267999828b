import type { Command } from 'commander'
import type { UpOptions } from '../up.ts'

/** `outrigger up DIR`: a mesh on this machine from a folder of manifests. */
export function register(program: Command): void {
  program
    .command('up <dir>')
    .description('run the manifests of a folder as a mesh on this machine; in the foreground, or with --detach')
    .option('-d, --detach', 'leave the mesh running in the background when it is ready')
    .option('--proxy <kind>', 'data plane of the pods: outrigger, envoy or mixed-by-annotation', 'outrigger')
    .option('--port <port>', 'port on 127.0.0.1 that reaches the ingress gateway', '8080')
    .option('--debug-port <port>', "port on 127.0.0.1 that reaches the control plane's debug pages", '15014')
    .option('--timeout <seconds>', 'how long to wait for every pod to be ready', '120')
    .action(async (dir: string, options: UpOptions) => {
      const { up } = await import('../up.ts')
      await up(dir, options)
    })
}
