import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { LocalClient } from '../../local/index.ts'

const POLL_MS = 50

/** `outrigger scale deployment NAME --replicas N`. */
export function register(program: Command): void {
  program
    .command('scale <resource...>')
    .description('set how many pods a Deployment has, and wait until they are ready')
    .requiredOption('--replicas <count>', 'number of pods')
    .option('-n, --namespace <name>', 'namespace of the Deployment', 'default')
    .option('--timeout <seconds>', 'how long to wait for the pods; 0 = do not wait', '30')
    .action(async (words: string[], options: { replicas: string; namespace: string; timeout: string }) => {
      const { LocalClient } = await import('../../local/index.ts')
      if (!/^\d+$/.test(options.timeout))
        throw new UserError(`--timeout ${options.timeout}: must be a number of seconds`, 64)
      const client = new LocalClient()
      const { type, names } = await client.resourceArguments(words)
      if (type.kind !== 'Deployment.apps') throw new UserError(`cannot scale ${type.plural}; only deployments`, 64)
      if (names.length === 0)
        throw new UserError('name the Deployment: outrigger scale deployment NAME --replicas N', 64)
      if (!/^\d+$/.test(options.replicas)) throw new UserError(`--replicas ${options.replicas}: must be a number`, 64)
      for (const name of names) {
        await client.call('patch', {
          kind: type.kind,
          namespace: options.namespace,
          name,
          replicas: Number(options.replicas),
        })
        console.log(`deployment.apps/${name} scaled`)
      }
      const timeoutMs = Number(options.timeout) * 1000
      if (timeoutMs > 0) await waitForDeployments(client, options.namespace, names, timeoutMs)
    })
}

async function waitForDeployments(
  client: LocalClient,
  namespace: string,
  names: readonly string[],
  timeoutMs: number,
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const { deployments } = await client.call('status', {})
    const late = deployments.find((d) => d.namespace === namespace && names.includes(d.name) && !d.done)
    if (!late) return
    if (Date.now() > deadline) {
      throw new UserError(
        `deployment ${late.name}: ${late.ready} of ${late.want} pods ready after ${timeoutMs / 1000} s`,
      )
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
