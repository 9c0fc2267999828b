import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'

/** `outrigger delete -f FILE` or `outrigger delete TYPE NAME…`. */
export function register(program: Command): void {
  program
    .command('delete [resource...]')
    .description('delete objects by file, or by type and name')
    .option('-f, --filename <path...>', 'delete the objects of these files')
    .option('-n, --namespace <name>', 'namespace of the named objects', 'default')
    .option('--ignore-not-found', 'missing objects are no error')
    .action(async (words: string[], options: { filename?: string[]; namespace: string; ignoreNotFound?: boolean }) => {
      const { LocalClient } = await import('../../local/index.ts')
      const client = new LocalClient()
      if (options.filename) {
        if (words.length > 0) throw new UserError('give either -f or a type and names, not both', 64)
        const { readInputs } = await import('../manifests.ts')
        print(await client.call('deleteManifests', { files: await readInputs(options.filename) }))
        return
      }
      const { type, names } = await client.resourceArguments(words)
      if (names.length === 0) throw new UserError(`name what to delete: outrigger delete ${type.plural} NAME`, 64)
      const namespace = type.namespaced ? options.namespace : undefined
      const deleted = await client.call('delete', {
        targets: names.map((name) => ({ kind: type.kind, namespace, name })),
      })
      print(deleted)
      if (deleted.length < names.length && !options.ignoreNotFound) {
        const found = new Set(deleted.map((text) => text.split('/')[1]))
        throw new UserError(`${type.plural} not found: ${names.filter((name) => !found.has(name)).join(', ')}`)
      }
    })
}

function print(deleted: readonly string[]): void {
  for (const name of deleted) console.log(`${name.replace('/', ' "')}" deleted`)
}
