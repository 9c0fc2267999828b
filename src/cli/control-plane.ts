// How commands ask a control plane for its debug pages: over xDS, as istioctl does, at --xds-address or in the mesh of
// this machine.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js'
import { type Command, Option } from 'commander'
import type { DiscoveryResponse } from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { errorText, UserError } from '../base/errors.ts'
import { type BuildInfo, buildInfo } from '../base/version.ts'

/** istioctl's flags that choose a control plane. */
export interface ControlPlaneFlags {
  readonly xdsAddress?: string
  readonly xdsLabel?: string
  readonly revision?: string
  readonly xdsPort: string
  readonly certDir?: string
  readonly authority?: string
  readonly insecure?: boolean
  readonly plaintext?: boolean
  readonly timeout: string
}

export function addControlPlaneFlags(command: Command): Command {
  const option = (flags: string, text: string, env: string) => new Option(flags, text).env(`ISTIOCTL_${env}`)
  return command
    .addOption(option('--xds-address <host:port>', 'control plane to ask; default: of the mesh here', 'XDS_ADDRESS'))
    .option('--xds-label <selector>', 'ask the control plane whose pod has this label')
    .option('-r, --revision <name>', 'ask the control plane of this revision; that of the mesh here is default')
    .addOption(option('--xds-port <port>', 'xDS port of the mesh here', 'XDS_PORT').default('15012'))
    .addOption(option('--cert-dir <dir>', 'with cert-chain.pem, key.pem and root-cert.pem', 'CERT_DIR'))
    .addOption(option('--authority <name>', "name to expect in the control plane's certificate", 'AUTHORITY'))
    .addOption(option('--insecure', "do not verify the control plane's certificate", 'INSECURE'))
    .addOption(option('--plaintext', 'no TLS; debug pages need TLS', 'PLAINTEXT'))
    .option('--timeout <duration>', 'how long to wait for an answer', '30s')
}

/** What a control plane says of itself in answers to sync questions. */
export interface ControlPlaneIdentity {
  readonly Component: string
  readonly ID: string
  readonly Info: BuildInfo
}

/** Any debug page (`syncz`, `edsz?proxyID=…`). */
export const DEBUG_TYPE = 'istio.io/debug'
/** A ClientConfig of every proxy. */
export const SYNC_TYPE = 'istio.io/debug/syncz'

const ISTIO_NAMESPACE = 'istio-system'
/** Every control plane's certificate has it. */
const SERVER_NAME = `istiod.${ISTIO_NAMESPACE}.svc`
/** Labels of the control plane of a mesh on this machine. */
const CONTROL_PLANE_LABELS: Readonly<Record<string, string>> = {
  app: 'istiod',
  istio: 'pilot',
  'istio.io/rev': 'default',
}

/** The answer to one question. Throws UserError with the control plane's own reason. */
export async function askControlPlane(
  typeUrl: string,
  names: readonly string[],
  flags: ControlPlaneFlags,
): Promise<DiscoveryResponse> {
  const timeoutMs = await checkFlags(flags)
  const target = flags.xdsAddress === undefined ? await localTarget(flags) : await namedTarget(flags, flags.xdsAddress)
  const [{ Client, Metadata }, { askOnce }, { create }, { NodeSchema }] = await Promise.all([
    import('@grpc/grpc-js'),
    import('../xds/index.ts'),
    import('@bufbuild/protobuf'),
    import('../api/gen/envoy/config/core/v3/base_pb.js'),
  ])
  const metadata = new Metadata()
  if (target.token !== undefined) metadata.set('authorization', `Bearer ${target.token}`)
  const node = create(NodeSchema, {
    id: `sidecar~127.0.0.1~outrigger.${ISTIO_NAMESPACE}~${ISTIO_NAMESPACE}.svc.cluster.local`,
    metadata: { GENERATOR: 'event', NAMESPACE: ISTIO_NAMESPACE, SERVICE_ACCOUNT: 'default' },
  })
  const client = new Client(target.address, target.credentials, {
    'grpc.max_receive_message_length': -1,
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    ...target.options,
  })
  try {
    return await askOnce(client, { node, typeUrl, names, timeoutMs }, metadata)
  } catch (error) {
    const reason = transportReason((error as { details?: string }).details || errorText(error))
    throw new UserError(`control plane at ${target.name}: ${reason}`, 1, { cause: error })
  } finally {
    client.close()
    target.close()
  }
}

/** Without the words that grpc-js puts around a failed connection. */
function transportReason(details: string): string {
  return details
    .replace(/^No connection established\. Last error: (?:Error: )?/, '')
    .replace(/\. Resolution note: $/, '')
    .trim()
}

/** Milliseconds to wait. Throws UserError for flags that do not go together. */
async function checkFlags(flags: ControlPlaneFlags): Promise<number> {
  if (flags.xdsAddress !== undefined && flags.xdsLabel !== undefined) {
    throw new UserError('either --xds-address or --xds-label, not both', 64)
  }
  if (flags.xdsAddress !== undefined && flags.revision !== undefined) {
    throw new UserError('either --xds-address or --revision, not both', 64)
  }
  if (flags.plaintext && flags.certDir !== undefined) {
    throw new UserError('either --plaintext or --cert-dir, not both', 64)
  }
  const { parseDuration } = await import('../config/index.ts')
  const timeoutMs = parseDuration(flags.timeout)
  if (timeoutMs === undefined || timeoutMs <= 0) {
    throw new UserError(`--timeout ${flags.timeout}: write for example 30s or 1m`, 64)
  }
  return timeoutMs
}

interface Target {
  readonly address: string
  /** For errors. */
  readonly name: string
  readonly credentials: ChannelCredentials
  readonly options: ChannelOptions
  readonly token?: string
  close(): void
}

async function namedTarget(flags: ControlPlaneFlags, address: string): Promise<Target> {
  // An address is no name that a certificate of a control plane has.
  const named = isIP(address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')) === 0
  const authority = flags.authority ?? (named ? undefined : SERVER_NAME)
  const base = { address, name: address, close: () => {}, options: authorityOptions(authority) }
  if (flags.plaintext || flags.certDir !== undefined) return { ...base, credentials: await ownCredentials(flags) }
  // As istioctl with a cluster: the mesh of this machine says who we are.
  const { token, rootPem } = await localIdentity(
    'with --xds-address give --cert-dir or --plaintext; without them the token comes from the mesh on this machine',
  )
  return { ...base, token, credentials: await tlsCredentials(Buffer.from(rootPem), flags.insecure) }
}

async function localTarget(flags: ControlPlaneFlags): Promise<Target> {
  if (flags.xdsLabel !== undefined && !selects(flags.xdsLabel)) {
    throw new UserError(`no running Istio pods in "${ISTIO_NAMESPACE}" with label ${flags.xdsLabel}`)
  }
  if (flags.revision !== undefined && flags.revision !== CONTROL_PLANE_LABELS['istio.io/rev']) {
    throw new UserError(`no running Istio pods in "${ISTIO_NAMESPACE}" of revision ${flags.revision}`)
  }
  const port = Number(flags.xdsPort)
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new UserError(`--xds-port ${flags.xdsPort}: must be a port number`, 64)
  }
  const { token, rootPem } = await localIdentity()
  const { forwardPort, stateDir } = await import('../local/index.ts')
  const { port: local, close } = await forwardPort('127.0.0.1', 0, stateDir(), { nodePort: port })
  const own = flags.plaintext || flags.certDir !== undefined
  return {
    address: `127.0.0.1:${local}`,
    name: `port ${port} of the mesh on this machine`,
    close,
    options: authorityOptions(flags.authority ?? SERVER_NAME),
    credentials: own ? await ownCredentials(flags) : await tlsCredentials(Buffer.from(rootPem), flags.insecure),
    ...(own ? {} : { token }),
  }
}

function authorityOptions(authority: string | undefined): ChannelOptions {
  return authority === undefined
    ? {}
    : { 'grpc.ssl_target_name_override': authority, 'grpc.default_authority': authority }
}

/** `key=value`, `key==value`, `key!=value` or `key`, several joined by commas. */
function selects(selector: string): boolean {
  return selector.split(',').every((term) => {
    const match = /^\s*([^!=\s]+)\s*(?:(==?|!=)\s*(\S*))?\s*$/.exec(term)
    if (!match) throw new UserError(`--xds-label "${selector}": write key=value`, 64)
    const [, key = '', operator, value = ''] = match
    const actual = CONTROL_PLANE_LABELS[key]
    if (operator === undefined) return actual !== undefined
    return operator === '!=' ? actual !== value : actual === value
  })
}

async function localIdentity(hint?: string): Promise<{ token: string; rootPem: string }> {
  const { LocalClient } = await import('../local/index.ts')
  const client = new LocalClient()
  const account = { namespace: ISTIO_NAMESPACE, serviceAccount: 'default', audience: 'istio-ca' }
  try {
    const [token, maps] = await Promise.all([
      client.call('serviceAccountToken', account),
      client.call('list', { kind: 'ConfigMap', namespace: ISTIO_NAMESPACE }),
    ])
    const map = maps.find(({ metadata }) => metadata.name === 'istio-ca-root-cert') as
      | { data?: Readonly<Record<string, string>> }
      | undefined
    return { token, rootPem: map?.data?.['root-cert.pem'] ?? '' }
  } catch (error) {
    if (hint === undefined || !(error instanceof UserError)) throw error
    throw new UserError(`${error.message} (${hint})`, error.exitCode, { cause: error })
  }
}

async function ownCredentials({ plaintext, certDir, insecure }: ControlPlaneFlags): Promise<ChannelCredentials> {
  if (plaintext) return (await import('@grpc/grpc-js')).credentials.createInsecure()
  const read = (file: string): Buffer => {
    try {
      return readFileSync(join(certDir!, file))
    } catch (error) {
      throw new UserError(`--cert-dir: ${errorText(error)}`, 1, { cause: error })
    }
  }
  return tlsCredentials(read('root-cert.pem'), insecure, read('key.pem'), read('cert-chain.pem'))
}

async function tlsCredentials(
  root: Buffer,
  insecure = false,
  key?: Buffer,
  chain?: Buffer,
): Promise<ChannelCredentials> {
  const { credentials } = await import('@grpc/grpc-js')
  const options = insecure ? { rejectUnauthorized: false, checkServerIdentity: () => undefined } : {}
  try {
    return credentials.createSsl(root, key ?? null, chain ?? null, options)
  } catch (error) {
    throw new UserError(`certificates cannot be used: ${errorText(error)}`, 1, { cause: error })
  }
}

/** What the control plane says of itself; istioctl's words where it says nothing. */
export function identityOf({ controlPlane }: DiscoveryResponse): ControlPlaneIdentity {
  const unknown = (word: string) => ({ Component: word, ID: word, Info: { ...buildInfo(`${word} CP ID`), tag: '' } })
  if (!controlPlane) return unknown('MISSING')
  try {
    const parsed = JSON.parse(controlPlane.identifier) as Partial<ControlPlaneIdentity> | null
    if (typeof parsed?.ID !== 'string' || typeof parsed.Component !== 'string') return unknown('INVALID')
    return { Component: parsed.Component, ID: parsed.ID, Info: { ...buildInfo(''), ...parsed.Info } }
  } catch {
    return unknown('INVALID')
  }
}
