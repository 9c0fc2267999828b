import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'

/** `outrigger label TYPE NAME KEY=VALUE… KEY-…`. */
export function register(program: Command): void {
  program
    .command('label <type> <name> <labels...>')
    .description('set labels (key=value) or remove them (key-)')
    .option('-n, --namespace <name>', 'namespace of the object', 'default')
    .option('--overwrite', 'change labels that have another value')
    .action(
      async (word: string, name: string, changes: string[], options: { namespace: string; overwrite?: boolean }) => {
        const { LocalClient } = await import('../../local/index.ts')
        const client = new LocalClient()
        const type = await client.call('resourceType', { word })
        const namespace = type.namespaced ? options.namespace : undefined
        const labels = Object.fromEntries(changes.map(parseChange))
        const found = (await client.call('list', { kind: type.kind, namespace })).find((o) => o.metadata.name === name)
        if (!found) throw new UserError(`${type.plural} "${name}" not found`)
        for (const [key, value] of Object.entries(labels)) {
          const old = found.metadata.labels?.[key]
          if (value !== null && old !== undefined && old !== value && !options.overwrite) {
            throw new UserError(`'${key}' already has a value (${old}), and --overwrite is not given`)
          }
        }
        await client.call('patch', { kind: type.kind, namespace, name, labels })
        console.log(`${type.names[0]}/${name} labeled`)
      },
    )
}

function parseChange(text: string): [string, string | null] {
  if (text.endsWith('-') && !text.includes('=')) return [text.slice(0, -1), null]
  const equals = text.indexOf('=')
  if (equals <= 0) throw new UserError(`"${text}" must be key=value, or key- to remove a label`, 64)
  return [text.slice(0, equals), text.slice(equals + 1)]
}
