import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'

/** `outrigger scale deployment NAME --replicas N`. */
export function register(program: Command): void {
  program
    .command('scale <resource...>')
    .description('set how many pods a Deployment has')
    .requiredOption('--replicas <count>', 'number of pods')
    .option('-n, --namespace <name>', 'namespace of the Deployment', 'default')
    .action(async (words: string[], options: { replicas: string; namespace: string }) => {
      const { LocalClient } = await import('../../local/index.ts')
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
    })
}
