import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { AnalysisItem, AnalysisMessage } from '../../config/index.ts'
import {
  ANALYSIS_DOCUMENTATION,
  colorful,
  isAtLeast,
  levelOption,
  MESSAGE_FORMATS,
  printMessages,
} from '../analysis-output.ts'
import { localAccess } from '../envoy/source.ts'
import { outputFormat } from '../output.ts'

interface Options {
  readonly namespace: string
  readonly istioNamespace: string
  readonly skipControlplane?: boolean
  readonly fromVersion?: string
  readonly outputThreshold: string
  readonly output: string
}

/** Kinds whose annotations are looked at, and what an older release sent spans to. */
const KINDS = ['Namespace', 'Service', 'Pod', 'Deployment.apps']

/** `outrigger x precheck`: whether a mesh can run here, and what an upgrade would change for the one that does. */
export function registerPrecheck(x: Command): void {
  x.command('precheck')
    .description('whether a mesh can run on this machine, and what would be different from an older release')
    .option('-n, --namespace <name>', 'accepted as in istioctl: everything is looked at', 'default')
    .option('-i, --istioNamespace <name>', 'namespace of the control plane', 'istio-system')
    .option('--skip-controlplane', 'leave out the machine and the use of alpha features')
    .option('-f, --from-version <version>', 'what has changed since this release of Istio, for example 1.20')
    .option('--output-threshold <level>', 'Info, Warning or Error: show messages from this level on', 'Warning')
    .option('-o, --output <format>', MESSAGE_FORMATS.join(', '), 'log')
    .action(run)
}

async function run(flags: Options): Promise<void> {
  const format = outputFormat(flags.output, MESSAGE_FORMATS)
  const show = levelOption(flags.outputThreshold, '--output-threshold')
  const minor = flags.fromVersion === undefined ? null : minorOf(flags.fromVersion)
  const { alphaUses, changedSince, missingPermission } = await import('../../config/index.ts')
  const { namespace, istioNamespace } = flags
  const options = { namespace, istioNamespace, rootNamespace: istioNamespace, proxyMetadata: {} }
  const items = await meshItems()
  const messages: AnalysisMessage[] = []
  if (!flags.skipControlplane) {
    const { lackingPrerequisites } = await import('../../local/index.ts')
    const lacking = lackingPrerequisites()
    if (lacking) messages.push(missingPermission(lacking.resource, lacking.reason))
    messages.push(...alphaUses(items, options))
  }
  if (minor !== null) messages.push(...changedSince(minor, items, options))
  const shown = messages.filter((message) => isAtLeast(message, show))
  if (shown.length > 0) await printMessages(shown, format, colorful())
  else {
    const clean = 'No issues found when checking the cluster. Istio is safe to install or upgrade!'
    console.error(`✔ ${clean}\n  To get started, check out https://istio.io/latest/docs/setup/getting-started/.`)
  }
  if (messages.some((message) => isAtLeast(message, levelOption('Warning', '')))) {
    const found = 'Issues found when checking the cluster. Istio may not be safe to install or upgrade.'
    throw new UserError(`${found}\nSee ${ANALYSIS_DOCUMENTATION} for more information about causes and resolutions.`)
  }
}

/** Throws UserError, in istioctl's words, when it is no version of Istio. */
function minorOf(version: string): number {
  const dot = version.indexOf('.')
  if (dot < 0) throw new UserError(`invalid version ${version}, expected format like '1.0'`)
  const [major, minor] = [version.slice(0, dot), version.slice(dot + 1)]
  if (major !== '1') throw new UserError(`expected major version 1, got ${version}`)
  if (!/^\d+$/.test(minor)) throw new UserError(`minor version is not a number: ${minor}`)
  return Number(minor)
}

/** Objects of the running mesh; none when there is none yet. */
async function meshItems(): Promise<AnalysisItem[]> {
  const { runningMesh, stateDir } = await import('../../local/index.ts')
  if (!runningMesh(stateDir())) return []
  const access = await localAccess()
  const lists = await Promise.all(KINDS.map((kind) => access.objects(kind)))
  return (lists.flat() as AnalysisItem['object'][]).map((object) => ({
    object,
    hasNamespace: true,
    reference: () => '',
  }))
}
