import { basename } from 'node:path'
import type { Command } from 'commander'
import { parse } from 'yaml'
import { UserError } from '../../base/errors.ts'
import type { AnalysisItem, AnalysisMessage } from '../../config/index.ts'
import {
  ANALYSIS_DOCUMENTATION,
  colorful,
  isAtLeast,
  levelOption,
  MESSAGE_FORMATS,
  type MessageFormat,
  printMessages,
} from '../analysis-output.ts'
import { localAccess } from '../envoy/source.ts'
import { readLocated } from '../manifest-lines.ts'
import { outputFormat } from '../output.ts'

type Flags = Omit<Options, 'useKube' | 'color'> & { readonly useKube: string | true; readonly color: string | true }

interface Options {
  readonly namespace: string
  readonly istioNamespace: string
  readonly allNamespaces?: boolean
  readonly listAnalyzers?: boolean
  readonly useKube: string
  readonly revision: string
  readonly timeout: string
  readonly color: string
  readonly ignoreUnknown?: boolean
  readonly suppress: string[]
  readonly output: string
  readonly failureThreshold: string
  readonly outputThreshold: string
  readonly meshConfigFile?: string
  readonly analyzer: string[]
  readonly verbose?: boolean
}

/** istioctl's exit code for findings at or above the failure threshold. */
const EXIT_FOUND = 79

/** Kinds that analyzers read, from a running mesh. */
const KINDS = [
  'Namespace',
  'ConfigMap',
  'Service',
  'Pod',
  'Secret',
  'Node',
  'Deployment.apps',
  'Gateway.networking.istio.io',
  'VirtualService.networking.istio.io',
  'DestinationRule.networking.istio.io',
  'ServiceEntry.networking.istio.io',
  'WorkloadEntry.networking.istio.io',
  'ProxyConfig.networking.istio.io',
  'Sidecar.networking.istio.io',
  'EnvoyFilter.networking.istio.io',
  'PeerAuthentication.security.istio.io',
  'RequestAuthentication.security.istio.io',
  'AuthorizationPolicy.security.istio.io',
  'Telemetry.telemetry.istio.io',
  'TrafficExtension.extensions.istio.io',
  'WasmPlugin.extensions.istio.io',
  'Gateway.gateway.networking.k8s.io',
  'HTTPRoute.gateway.networking.k8s.io',
  'GRPCRoute.gateway.networking.k8s.io',
]

function collect(value: string, previous: string[]): string[] {
  return [...previous, ...value.split(',')]
}

/** `outrigger analyze [FILE…]`: what is probably not meant, in files, the running mesh, or both. */
export function register(program: Command): void {
  program
    .command('analyze [files...]')
    .description('find mistakes in Istio configuration: of files, of the running mesh, or of both together')
    .option('-n, --namespace <name>', 'namespace of objects that name none, and whose messages are shown', 'default')
    .option('-i, --istioNamespace <name>', 'namespace of the control plane', 'istio-system')
    .option('-A, --all-namespaces', 'messages about every namespace')
    .option('-L, --list-analyzers', 'list the analyzers')
    .option('-k, --use-kube [bool]', 'take the objects of the running mesh in (default: when one runs)', 'auto')
    .option('-R, --recursive', 'accepted for older istioctl: folders are always read with their sub-folders')
    .option('--ignore-unknown', 'pass over documents that are no Kubernetes objects')
    .option(
      '-S, --suppress <code=resource>',
      'hide a message, for example "IST0102=Namespace default"; * matches any text',
      collect,
      [],
    )
    .option('-o, --output <format>', 'log, json or yaml', 'log')
    .option('--failure-threshold <level>', 'Info, Warning or Error: exit with 79 from this level on', 'Error')
    .option('--output-threshold <level>', 'Info, Warning or Error: show messages from this level on', 'Info')
    .option('--meshConfigFile <file>', 'MeshConfig to analyse with')
    .option('--analyzer <name>', 'only this analyzer', collect, [])
    .option('-r, --revision <revision>', 'leave out resources of other revisions of the control plane', 'default')
    .option('--timeout <duration>', 'give up on the running mesh after this', '30s')
    .option('--color [bool]', 'color the levels: true, false, or auto for on a terminal', 'auto')
    .option('-v, --verbose', 'say what is analysed')
    .action((files: string[], flags: Flags) => {
      const named = [...files]
      const options: Options = {
        ...flags,
        useKube: wordOr(flags.useKube, 'true', named),
        color: wordOr(flags.color, 'true', named),
      }
      return run(named, options)
    })
}

const FLAG_WORDS = ['true', 'false', 'auto']

/** istioctl's flags of this kind take a word behind `=` only: any other that follows one is a file. */
function wordOr(value: string | true, alone: string, files: string[]): string {
  if (value === true) return alone
  if (FLAG_WORDS.includes(value)) return value
  files.unshift(value)
  return alone
}

async function run(files: string[], options: Options): Promise<void> {
  const { ANALYZERS, analyze, MESSAGE_CODES } = await import('../../config/index.ts')
  if (options.listAnalyzers) {
    // Several checks may bear one name: the first says what it is.
    const descriptions = new Map([...ANALYZERS].reverse().map(({ name, description }) => [name, description]))
    const names = [...descriptions.keys()].sort()
    process.stdout.write(names.map((name) => `* ${name}:\n    ${descriptions.get(name)}\n`).join(''))
    return
  }
  const format = outputFormat(options.output, MESSAGE_FORMATS, 64)
  const fail = levelOption(options.failureThreshold, '--failure-threshold')
  const show = levelOption(options.outputThreshold, '--output-threshold')
  const wanted = new Set(options.analyzer)
  const chosen = wanted.size === 0 ? undefined : ANALYZERS.filter(({ name }) => wanted.has(name))
  const unknown = options.analyzer.find((name) => !ANALYZERS.some((a) => a.name === name))
  if (unknown) throw new UserError(`no analyzer "${unknown}"; see --list-analyzers`, 64)
  for (const rule of options.suppress) {
    const [code = '', ...resource] = rule.split('=')
    if (resource.length !== 1) throw new UserError(`--suppress "${rule}": write CODE=Kind name.namespace`)
    if (!MESSAGE_CODES.has(code)) console.error(`Warning: --suppress ${rule}: there is no message code "${code}"`)
  }
  let unread = 0
  const unreadable = (error: UserError): void => {
    if (options.ignoreUnknown) return
    unread++
    console.error(`error: ${error.message}`)
  }
  const gathered = await gather(files, options, unreadable)
  if (namespaceMissing(gathered, options)) {
    console.error(`namespace "${options.namespace}" not found`)
    return
  }
  const items = gathered.filter((item) => ofRevision(item, options.revision))
  if (options.verbose) {
    const names = [...new Set((chosen ?? ANALYZERS).map(({ name }) => name))]
    console.error(`Analyzed resources in ${scopeText(options)}\nExecuted analyzers:\n\t ${names.join('\n\t ')}\n`)
  }
  const messages = analyze(
    items,
    {
      namespace: options.namespace,
      istioNamespace: options.istioNamespace,
      rootNamespace: options.istioNamespace,
      ...meshSettings(options.meshConfigFile),
    },
    chosen,
  )
    .filter((message) => options.allNamespaces || message.namespace === options.namespace)
    .filter((message) => !suppressed(message, options.suppress))
  const shown = messages.filter((message) => isAtLeast(message, show))
  await print(shown, format, files, { ...options, unread })
  // As istioctl: a program that reads JSON decides for itself, and what is not shown still counts.
  if (format === 'log' && messages.some((message) => isAtLeast(message, fail))) {
    const found = `Analyzers found issues when analyzing ${scopeText(options)}.`
    throw new UserError(
      `${found}\nSee ${ANALYSIS_DOCUMENTATION} for more information about causes and resolutions.`,
      EXIT_FOUND,
    )
  }
  if (format === 'log' && unread > 0) throw new UserError("Some files couldn't be parsed.", 65)
}

async function gather(
  files: readonly string[],
  options: Options,
  unreadable: (error: UserError) => void,
): Promise<AnalysisItem[]> {
  const { IMAGES_FILE } = await import('../../local/index.ts')
  // As on a cluster, a later object of one name replaces an earlier one.
  const found = new Map<string, AnalysisItem>()
  for (const { object, reference } of readLocated(files, true, unreadable)) {
    if (basename(reference('').replace(/:\d+$/, '')) === IMAGES_FILE) continue
    const item = object as AnalysisItem['object']
    if (
      typeof item?.kind !== 'string' ||
      typeof item.apiVersion !== 'string' ||
      typeof item.metadata?.name !== 'string'
    ) {
      const missing = 'apiVersion, kind and metadata.name are required (or use --ignore-unknown)'
      unreadable(new UserError(`${reference('')}: not a Kubernetes object: ${missing}`, 65))
      continue
    }
    for (const extra of meshNetworks(item, options, reference)) found.set('MeshNetworks', extra)
    found.set(keyOf(item, options.namespace), {
      object: item,
      hasNamespace: item.metadata.namespace !== undefined,
      reference,
    })
  }
  if (options.useKube === 'false') {
    if (files.length === 0) throw new UserError('nothing to analyse: give files, or leave --use-kube out', 64)
    return [...found.values()]
  }
  // Files stand for what they would replace.
  const optional = files.length > 0 && options.useKube === 'auto'
  for (const object of await within(options.timeout, meshObjects(optional))) {
    const key = keyOf(object, options.namespace)
    for (const extra of meshNetworks(object, options, () => ''))
      if (!found.has('MeshNetworks')) found.set('MeshNetworks', extra)
    if (!found.has(key)) found.set(key, { object, hasNamespace: true, reference: () => '' })
  }
  return [...found.values()]
}

/** MeshNetworks stands inside the control plane's ConfigMap `istio`. */
function meshNetworks(
  object: AnalysisItem['object'],
  options: Options,
  reference: AnalysisItem['reference'],
): AnalysisItem[] {
  const { kind, metadata, data } = object
  if (kind !== 'ConfigMap' || metadata.name !== 'istio' || metadata.namespace !== options.istioNamespace) return []
  const text = (data as { meshNetworks?: unknown } | undefined)?.meshNetworks
  if (typeof text !== 'string') return []
  const networks = parse(text) as Record<string, unknown> | null
  const named = { name: 'meshnetworks', namespace: options.istioNamespace }
  const item = { ...networks, apiVersion: 'v1', kind: 'MeshNetworks', metadata: named }
  return [{ object: item, hasNamespace: true, reference: () => reference('data.meshNetworks') }]
}

function keyOf({ apiVersion, kind, metadata }: AnalysisItem['object'], namespace: string): string {
  return `${apiVersion.split('/')[0]}/${kind}/${metadata.namespace ?? namespace}/${metadata.name}`
}

/** `optional`: without a running mesh there are none. */
async function meshObjects(optional: boolean): Promise<AnalysisItem['object'][]> {
  const access = await localAccess()
  try {
    const lists = await Promise.all(KINDS.map((kind) => access.objects(kind)))
    return lists.flat() as AnalysisItem['object'][]
  } catch (error) {
    if (optional && error instanceof UserError) return []
    throw error
  }
}

/** Fails when `work` takes longer than the duration. */
async function within<T>(duration: string, work: Promise<T>): Promise<T> {
  const { parseDuration } = await import('../../config/index.ts')
  const ms = parseDuration(duration)
  if (ms === undefined || ms <= 0) throw new UserError(`--timeout ${duration}: must be a duration, for example 30s`, 64)
  let timer: NodeJS.Timeout
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new UserError(`the running mesh did not answer within ${duration}`)), ms)
  })
  return Promise.race([work, limit]).finally(() => clearTimeout(timer))
}

/** The running mesh has no such namespace, nor have the files; those alone need not say what namespaces there are. */
function namespaceMissing(items: readonly AnalysisItem[], { namespace, allNamespaces, useKube }: Options): boolean {
  if (allNamespaces || useKube === 'false') return false
  const namespaces = items.filter(({ object }) => object.kind === 'Namespace')
  return (
    namespaces.some(({ reference }) => reference('') === '') &&
    !namespaces.some(({ object }) => object.metadata.name === namespace)
  )
}

/** Resources that name a revision are for that control plane alone. */
function ofRevision({ object }: AnalysisItem, revision: string): boolean {
  if (!object.apiVersion.includes('.istio.io/')) return true
  return (object.metadata.labels?.['istio.io/rev'] ?? revision) === revision
}

function meshSettings(file: string | undefined): { proxyMetadata: Record<string, string>; imageType?: string } {
  if (file === undefined) return { proxyMetadata: {} }
  const { object } = readLocated([file], false)[0] ?? { object: {} }
  const { defaultConfig } = object as {
    defaultConfig?: { proxyMetadata?: Record<string, unknown>; image?: { imageType?: string } }
  }
  const metadata = Object.entries(defaultConfig?.proxyMetadata ?? {}).map(([key, value]) => [key, String(value)])
  return {
    proxyMetadata: Object.fromEntries(metadata) as Record<string, string>,
    imageType: defaultConfig?.image?.imageType,
  }
}

/** `CODE=Kind name[.namespace]`, with `*` for any text. */
function suppressed(message: AnalysisMessage, rules: readonly string[]): boolean {
  return rules.some((rule) => {
    const [code, resource = ''] = rule.split('=', 2) as [string, string | undefined]
    if (code !== message.code) return false
    const [kind, name = ''] = message.origin.split(' ') as [string, string | undefined]
    const [namespace, short] = name.includes('/') ? (name.split('/', 2) as [string, string]) : [message.namespace, name]
    const pattern = new RegExp(`^${resource.split('*').map(escapeRegex).join('.*')}$`)
    return pattern.test(`${kind} ${short}.${namespace}`) || pattern.test(`${kind} ${short}`)
  })
}

function escapeRegex(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

function scopeText(options: Options): string {
  return options.allNamespaces ? 'all namespaces' : `namespace: ${options.namespace}`
}

async function print(
  messages: readonly AnalysisMessage[],
  format: MessageFormat,
  files: readonly string[],
  options: Options & { readonly unread: number },
): Promise<void> {
  const colored = options.color === 'auto' ? colorful() : options.color === 'true'
  await printMessages(messages, format, colored)
  if (messages.length > 0) return
  if (format === 'log') console.log('')
  if (options.unread > 0) {
    const parsed = `but ${options.unread} ${options.unread === 1 ? 'document' : 'documents'} could not be parsed`
    console.error(`No validation issues found when analyzing ${scopeText(options)} (${parsed}).`)
    return
  }
  const clean = '✔ No validation issues found when analyzing'
  if (files.length > 1) console.error(`${clean}:\n  - ${files.join('\n  - ')}`)
  else console.error(`${clean} ${files[0] ?? scopeText(options)}.`)
}
