import type { Command } from 'commander'
import type { DiscoveryResponse } from '../../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { errorText, UserError } from '../../base/errors.ts'
import { type BuildInfo, buildInfo, VERSION } from '../../base/version.ts'
import {
  addControlPlaneFlags,
  askControlPlane,
  type ControlPlaneFlags,
  type ControlPlaneIdentity,
  DEBUG_TYPE,
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
  /** Names of those that are gateways. */
  readonly gateways: ReadonlySet<string>
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
    const page = await askControlPlane(DEBUG_TYPE, ['syncz'], flags)
    return { controlPlane: identityOf(answer), proxies: proxiesOf(answer), gateways: gatewaysOf(page) }
  } catch (error) {
    if (!(error instanceof UserError) || error.exitCode === 64) throw error
    console.error(`no control plane: ${errorText(error)}`)
    return null
  }
}

/** Of the debug page syncz; who may not read it knows of none. */
function gatewaysOf({ resources }: DiscoveryResponse): ReadonlySet<string> {
  const text = Buffer.from(resources[0]?.value ?? new Uint8Array()).toString('utf8')
  if (!text.startsWith('[')) return new Set()
  const proxies = JSON.parse(text) as readonly { readonly proxy?: string; readonly proxy_type?: string }[]
  return new Set(proxies.flatMap(({ proxy, proxy_type }) => (proxy && proxy_type === 'router' ? [proxy] : [])))
}

async function versionText(remote: Remote | null, short: boolean): Promise<string> {
  const client = short ? VERSION : longForm(buildInfo(VERSION))
  const lines = [`client version: ${client}`]
  if (remote) {
    const { Component, Info } = remote.controlPlane
    lines.push(short ? `control plane version: ${Info.version}` : `${Component} version: ${longForm(Info)}`)
    if (short) {
      const { versionsText } = await import('../sync-status.ts')
      lines.push(`data plane version: ${versionsText(remote.proxies)}`)
    } else {
      for (const { ID, IstioVersion, Type } of dataPlane(remote)) {
        lines.push(`data plane version: version.ProxyInfo{ID:"${ID}", IstioVersion:"${IstioVersion}", Type:"${Type}"}`)
      }
    }
  }
  return `${lines.join('\n')}\n`
}

/** As Go prints its structure. */
function longForm({ version, revision, golang_version, status, tag }: BuildInfo): string {
  return `version.BuildInfo{Version:"${version}", GitRevision:"${revision}", GolangVersion:"${golang_version}", BuildStatus:"${status}", GitTag:"${tag}"}`
}

/** What a proxy is does not come with its state. */
function dataPlane({ proxies, gateways }: Remote) {
  return proxies.map(({ name, version }) => ({
    ID: name,
    IstioVersion: version,
    Type: gateways.has(name) ? 'gateway' : 'sidecar',
  }))
}

function structured(remote: Remote | null): unknown {
  const clientVersion = buildInfo(VERSION)
  if (!remote) return { clientVersion }
  const { Component, Info } = remote.controlPlane
  return { clientVersion, meshVersion: [{ Component, Revision: 'default', Info }], dataPlaneVersion: dataPlane(remote) }
}
