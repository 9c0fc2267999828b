import type { Command } from 'commander'

/** The inside of `outrigger up`: run by its supervisor in fresh namespaces, never by hand. */
export function register(program: Command): void {
  program
    .command('local-node <options>', { hidden: true })
    .description('the node process of outrigger up')
    .action(async (options: string) => {
      const { runNode } = await import('../../local/index.ts')
      await runNode(JSON.parse(options))
    })
}
