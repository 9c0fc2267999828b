import type { Command } from 'commander'
import { errorText, UserError } from '../../base/errors.ts'
import { VERSION } from '../../base/version.ts'
import {
  addControlPlaneFlags,
  askControlPlane,
  type ControlPlaneFlags,
  type ControlPlaneIdentity,
  identityOf,
  SYNC_TYPE,
} from '../control-plane.ts'
import { isTrue, outputFormat, printStructured } from '../output.ts'
import type { ProxySync } from '../sync-status.ts'

interface Options extends ControlPlaneFlags {
  readonly output: string
  readonly remote: string | boolean
  readonly short?: string | boolean
}

interface Remote {
  readonly controlPlane: ControlPlaneIdentity
  readonly proxies: readonly ProxySync[]
}

/** `outrigger version`, also as `x version`: of this program and, when a mesh runs, of its control plane and proxies. */
export function register(program: Command): void {
  registerVersion(program)
}

export function registerVersion(parent: Command): void {
  const command = parent
    .command('version')
    .description('versions of this program, the control plane and the proxies')
    .option('-o, --output <format>', 'text, json or yaml', 'text')
    .option('-s, --short [boolean]', 'false: with the names of the proxies', 'true')
    .option('--remote [boolean]', 'false: only this program', 'true')
    .option('--no-remote', 'only this program')
  addControlPlaneFlags(command).action(printVersions)
}

async function printVersions(options: Options): Promise<void> {
  const format = outputFormat(options.output, ['text', 'json', 'yaml'])
  const remote = isTrue('--remote', options.remote) ? await readRemote(options) : null
  if (format === 'text') process.stdout.write(await versionText(remote, isTrue('--short', options.short ?? 'true')))
  else if (format === 'json') console.log(JSON.stringify(structured(remote), null, 2))
  else await printStructured(structured(remote), 'yaml')
}

/** Null, with a line of its reason on stderr, when there is no control plane to ask. */
async function readRemote(flags: ControlPlaneFlags): Promise<Remote | null> {
  try {
    const answer = await askControlPlane(SYNC_TYPE, [], flags)
    const { proxiesOf } = await import('../sync-status.ts')
    return { controlPlane: identityOf(answer), proxies: proxiesOf(answer) }
  } catch (error) {
    if (!(error instanceof UserError) || error.exitCode === 64) throw error
    console.error(`no control plane: ${errorText(error)}`)
    return null
  }
}

async function versionText(remote: Remote | null, short: boolean): Promise<string> {
  const lines = [`client version: ${VERSION}`]
  if (remote) {
    const { Component, Info } = remote.controlPlane
    lines.push(`${short ? 'control plane' : Component} version: ${Info.version}`)
    if (short) {
      const { versionsText } = await import('../sync-status.ts')
      lines.push(`data plane version: ${versionsText(remote.proxies)}`)
    } else {
      for (const { name, version } of remote.proxies) lines.push(`data plane version: ${version} (${name})`)
    }
  }
  return `${lines.join('\n')}\n`
}

function structured(remote: Remote | null): unknown {
  const clientVersion = { version: VERSION }
  if (!remote) return { clientVersion }
  const { Component, Info } = remote.controlPlane
  return {
    clientVersion,
    meshVersion: [{ Component, Revision: 'default', Info }],
    dataPlaneVersion: remote.proxies.map(({ name, version }) => ({ ID: name, IstioVersion: version })),
  }
}
