import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { KubeObject } from '../../cluster/index.ts'

interface GetOptions {
  namespace: string
  allNamespaces?: boolean
  output?: string
  selector?: string
}

/** `outrigger get TYPE [NAME…]`: kubectl's tables, or YAML and JSON. */
export function register(program: Command): void {
  program
    .command('get <resource...>')
    .description('list objects: pods, services, endpoints, deployments, virtualservices, events …')
    .option('-n, --namespace <name>', 'namespace to look in', 'default')
    .option('-A, --all-namespaces', 'look in every namespace')
    .option('-o, --output <format>', 'wide, yaml, json or name')
    .option('-l, --selector <labels>', 'only objects with these labels, for example app=reviews,version=v1')
    .action(async (words: string[], options: GetOptions) => {
      if (options.output && !['wide', 'yaml', 'json', 'name'].includes(options.output)) {
        throw new UserError(`--output ${options.output}: must be wide, yaml, json or name`, 64)
      }
      if (words[0] === 'events') return await printEvents(options)
      await printObjects(words, options)
    })
}

async function printObjects(words: string[], options: GetOptions): Promise<void> {
  const { endpointsView, formatTable, LocalClient, tableRows } = await import('../../local/index.ts')
  const client = new LocalClient()
  const { type, names } = await client.resourceArguments(words)
  const namespace = options.allNamespaces || !type.namespaced ? undefined : options.namespace
  const stored = type.kind === 'Endpoints' ? 'EndpointSlice.discovery.k8s.io' : type.kind
  let objects = await client.call('list', { kind: stored, namespace })
  if (type.kind === 'Endpoints') objects = endpointsView(objects as unknown as Parameters<typeof endpointsView>[0])
  objects = objects.filter((object) => hasLabels(object, options.selector))
  if (names.length > 0) {
    const missing = names.filter((name) => !objects.some((object) => object.metadata.name === name))
    if (missing.length > 0) throw new UserError(`${type.plural} "${missing[0]}" not found`)
    objects = objects.filter((object) => names.includes(object.metadata.name))
  }
  objects.sort(
    (a, b) =>
      compare(a.metadata.namespace ?? '', b.metadata.namespace ?? '') || compare(a.metadata.name, b.metadata.name),
  )
  if (options.output === 'json' || options.output === 'yaml') {
    // One named object is printed as itself, as kubectl does.
    const content = names.length === 1 ? objects[0] : { apiVersion: 'v1', kind: 'List', items: objects }
    const { stringify } = await import('yaml')
    process.stdout.write(options.output === 'json' ? `${JSON.stringify(content, null, 4)}\n` : stringify(content))
    return
  }
  if (options.output === 'name') {
    for (const object of objects) console.log(`${type.names[0]}/${object.metadata.name}`)
    return
  }
  if (objects.length === 0) {
    console.error(namespace ? `No resources found in ${namespace} namespace.` : 'No resources found')
    return
  }
  const withNamespace = options.allNamespaces === true && type.namespaced
  console.log(formatTable(tableRows(type.kind, objects, { wide: options.output === 'wide', withNamespace })))
}

async function printEvents(options: GetOptions): Promise<void> {
  const { formatTable, LocalClient } = await import('../../local/index.ts')
  const events = (await new LocalClient().call('events', {})).filter(
    (event) => options.allNamespaces || event.namespace === options.namespace,
  )
  if (options.output === 'json') {
    console.log(JSON.stringify(events, null, 4))
    return
  }
  if (options.output) throw new UserError('events are printed as a table or with -o json', 64)
  const rows = events.map((e) => [e.time, e.namespace, e.object, String(e.count), e.message])
  console.log(formatTable([['TIME', 'NAMESPACE', 'OBJECT', 'COUNT', 'MESSAGE'], ...rows]))
}

function hasLabels(object: KubeObject, selector: string | undefined): boolean {
  if (!selector) return true
  return selector.split(',').every((pair) => {
    const parsed = /^([^!=]+)(!=|==?)(.*)$/.exec(pair)
    if (!parsed) return object.metadata.labels?.[pair] !== undefined
    const [, key, operator, value] = parsed
    return (object.metadata.labels?.[key!] === value) === (operator !== '!=')
  })
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
