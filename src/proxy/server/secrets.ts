// The secrets of the process: where each comes from, its current value, and who waits for it.

import { create, toBinary } from '@bufbuild/protobuf'
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import {
  type Secret as SecretMessage,
  SecretSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { DumpedResource } from '../admin/source.ts'
import type { Secret } from '../network/tls/secret-store.ts'
import { checkCertificate, checkTrust } from '../network/tls/secure-context.ts'
import { parseCertificate, parseTicketKeys, parseValidation } from '../network/tls/tls-config.ts'
import type { Scope } from '../observe/stats.ts'
import { filePath } from './file-source.ts'
import type { SecretSource, SecretValue } from './options.ts'
import { decodeResource, dumped, type IncomingResource, joinErrors } from './resource.ts'
import { secretDirectories, watchDirectories } from './secret-files.ts'
import { NamedSubscriptions } from './subscription-stats.ts'
import type { Warming } from './warming.ts'
import type { Workers } from './workers.ts'

/** Starts delivery of one secret by SDS; returns the function that ends it. */
export type SdsSubscribe = (
  name: string,
  source: ConfigSource,
  /** Why the secret is refused, or null. */
  onSecret: (resource: IncomingResource) => Promise<string | null>,
  counted: NamedSubscriptions,
) => () => void

/** A secret in force. */
interface LoadedSecret {
  readonly resource: IncomingResource
  readonly secret: Secret
}

interface Known {
  readonly end: () => void
  dump: DumpedResource | null
  /** null = none has come that could be used. */
  loaded: LoadedSecret | null
  /** Ends the watch of the files that the current version names. */
  endWatch: (() => void) | null
}

export class SecretResources {
  private readonly workers: Workers
  private readonly warming: Warming
  private readonly log: Logger
  private readonly stats: Scope
  private readonly inProcess: SecretSource | undefined
  private readonly sds: SdsSubscribe
  private readonly dynamic = new Map<string, Known>()
  private readonly fixed = new Map<string, LoadedSecret & { readonly dump: DumpedResource }>()
  /** Secrets are taken one after the other, in the order in which they come. */
  private last: Promise<unknown> = Promise.resolve()
  /** Secrets whose sds_config says `ads: {}`; null without ADS. */
  ads: { add(names: Iterable<string>): void; remove(names: Iterable<string>): void } | null = null

  /** Of those over ADS and from files; a stream of their own has its own (sds.ts). */
  readonly subscriptions = new NamedSubscriptions()

  constructor(
    workers: Workers,
    warming: Warming,
    log: Logger,
    stats: Scope,
    inProcess: SecretSource | undefined,
    sds: SdsSubscribe,
  ) {
    this.workers = workers
    this.warming = warming
    this.log = log
    this.stats = stats
    this.inProcess = inProcess
    this.sds = sds
  }

  /** static_resources.secrets. Throws ConfigError. */
  async addStatic(resource: IncomingResource): Promise<void> {
    const secret = parseSecret(resource)
    this.fixed.set(resource.name, { resource, secret, dump: dumped(SecretSchema, resource) })
    await this.workers.apply({ kind: 'secret', secret })
  }

  /** Throws ConfigError when nothing can deliver it. Delivery begins with the first call for a name. */
  need(name: string, source: ConfigSource | undefined): void {
    if (this.fixed.has(name) || this.dynamic.has(name)) return
    if (source?.configSourceSpecifier.case === 'ads') {
      const { ads } = this
      if (ads === null)
        throw new ConfigError(
          'sds_config.ads',
          `there is no ADS to ask for secret '${name}'; set dynamic_resources.ads_config`,
        )
      this.dynamic.set(name, { end: () => ads.remove([name]), dump: null, loaded: null, endWatch: null })
      this.subscriptions.begin(name, () => this.scope(name), null)
      ads.add([name])
      return
    }
    if (this.inProcess !== undefined && isFrom(this.inProcess.cluster, source)) {
      const known: Known = { end: () => end(), dump: null, loaded: null, endWatch: null }
      this.dynamic.set(name, known)
      this.subscriptions.begin(name, () => this.scope(name), null)
      const end = this.inProcess.watch(name, (value) => void this.receive(fromValue(name, value)).then(this.report))
      return
    }
    if (source === undefined)
      throw new ConfigError('', `unknown static secret '${name}'; add it to static_resources.secrets`)
    // Known before it is asked for: a file answers at once.
    let end = (): void => {}
    const path = filePath(source)
    if (path !== null) this.subscriptions.begin(name, () => this.scope(name), path)
    this.dynamic.set(name, { end: () => end(), dump: null, loaded: null, endWatch: null })
    try {
      end = this.sds(name, source, (resource) => this.receive(resource), this.subscriptions)
    } catch (error) {
      this.dynamic.delete(name)
      throw error
    }
  }

  private scope(name: string): Scope {
    const scope = this.stats.scope(`sds.${name}`)
    scope.counter('key_rotation_failed')
    return scope
  }

  /** One SDS response over ADS; returns the NACK reason or null. */
  async update(added: readonly IncomingResource[]): Promise<string | null> {
    const errors: string[] = []
    for (const resource of added) {
      const reason = await this.receive(resource)
      if (reason !== null) errors.push(reason)
    }
    return joinErrors(errors)
  }

  has(name: string): boolean {
    return this.fixed.has(name) || (this.dynamic.get(name)?.dump ?? null) !== null
  }

  /** For /config_dump. */
  dump(): { static: readonly DumpedResource[]; active: readonly DumpedResource[]; warming: readonly DumpedResource[] } {
    const active: DumpedResource[] = []
    const warming: DumpedResource[] = []
    for (const [name, known] of this.dynamic) {
      if (known.dump !== null) active.push(known.dump)
      else
        warming.push(
          dumped(SecretSchema, {
            name,
            version: 'uninitialized',
            body: toBinary(SecretSchema, create(SecretSchema, { name })),
          }),
        )
    }
    return { static: [...this.fixed.values()].map((one) => one.dump), active, warming }
  }

  close(): void {
    for (const known of this.dynamic.values()) {
      known.end()
      known.endWatch?.()
    }
  }

  /** What connections use, which may be older than what its files hold now; undefined while there is none. */
  secret(name: string): Secret | undefined {
    return (this.fixed.get(name) ?? this.dynamic.get(name)?.loaded)?.secret
  }

  /** A rotation on disk is a new version of the secret that names the files. */
  private watchFiles(resource: IncomingResource): (() => void) | null {
    const directories = secretDirectories(decodeResource(SecretSchema, resource))
    if (directories.size === 0) return null
    return watchDirectories(directories, () => {
      if (this.dynamic.get(resource.name)?.loaded?.resource === resource) void this.receive(resource).then(this.report)
    })
  }

  /** Why the secret is refused, or null. Of a refused one nothing stays: the last good one is in force, and followed. */
  private receive(resource: IncomingResource): Promise<string | null> {
    const result = this.last.then(() => this.apply(resource))
    this.last = result
    return result
  }

  private async apply(resource: IncomingResource): Promise<string | null> {
    const { name } = resource
    const known = this.dynamic.get(name)
    // Files that it names have changed.
    const again = known?.loaded?.resource === resource
    const startedMs = performance.now()
    let endWatch: (() => void) | null = null
    try {
      // Before the files are read: whatever comes later is a change.
      if (known !== undefined && !again) endWatch = this.watchFiles(resource)
      const secret = parseSecret(resource)
      await this.workers.apply({ kind: 'secret', secret })
      if (known !== undefined) {
        known.dump = dumped(SecretSchema, resource)
        known.loaded = { resource, secret }
        if (!again) {
          known.endWatch?.()
          known.endWatch = endWatch
        }
      }
      if (!again) this.subscriptions.success(name, resource.version, startedMs)
      this.warming.satisfied(`secret:${name}`)
      return null
    } catch (error) {
      endWatch?.()
      if (again) this.subscriptions.scope(name)?.counter('key_rotation_failed').inc()
      else this.subscriptions.rejected(name)
      return `${name}: ${errorText(error)}`
    }
  }

  /** For secrets that nobody else reports. */
  private readonly report = (reason: string | null): void => {
    if (reason !== null) this.log.error({ reason }, 'secret refused, the last good one stays')
  }
}

/** Whether `cluster` is where the source's SDS is asked for. */
function isFrom(cluster: string, source: ConfigSource | undefined): boolean {
  const specifier = source?.configSourceSpecifier
  if (specifier?.case !== 'apiConfigSource') return false
  const target = specifier.value.grpcServices[0]?.targetSpecifier
  return target?.case === 'envoyGrpc' && target.value.clusterName === cluster
}

function fromValue(name: string, value: SecretValue): IncomingResource {
  const message = create(SecretSchema, {
    name,
    type:
      value.certificateChain !== undefined
        ? {
            case: 'tlsCertificate',
            value: { certificateChain: inline(value.certificateChain), privateKey: inline(value.privateKey ?? '') },
          }
        : { case: 'validationContext', value: { trustedCa: inline(value.trustedCa ?? '') } },
  })
  return { name, version: String(Date.now()), body: toBinary(SecretSchema, message) }
}

function inline(text: string): { specifier: { case: 'inlineBytes'; value: Uint8Array } } {
  return { specifier: { case: 'inlineBytes', value: new Uint8Array(Buffer.from(text, 'latin1')) } }
}

/** Throws ConfigError for a secret that is none. */
export function parseSecret(resource: IncomingResource): Secret {
  const message: SecretMessage = decodeResource(SecretSchema, resource)
  const { type } = message
  const secret: Secret = { name: resource.name, certificate: null, validation: null, ticketKeys: null }
  switch (type.case) {
    case 'tlsCertificate':
      return {
        ...secret,
        certificate: checked(parseCertificate(type.value, 'tls_certificate'), checkCertificate, type.case),
      }
    case 'validationContext':
      return {
        ...secret,
        validation: checked(parseValidation(type.value, 'validation_context'), checkTrust, type.case),
      }
    case 'sessionTicketKeys':
      return { ...secret, ticketKeys: parseTicketKeys(type.value, 'session_ticket_keys') }
    case 'genericSecret':
      return secret
    default:
      throw new ConfigError(
        '',
        'a secret needs tls_certificate, validation_context, session_ticket_keys or generic_secret',
      )
  }
}

const CHECKED_FIELDS = {
  tlsCertificate: ['tls_certificate', 'Failed to load certificate chain or private key'],
  validationContext: ['validation_context', 'Failed to load trusted CA certificates or CRL'],
} as const

/** What OpenSSL does not take (a key that fits another certificate, …) must not reach a worker. Throws ConfigError. */
function checked<C>(config: C, check: (config: C) => void, field: keyof typeof CHECKED_FIELDS): C {
  try {
    check(config)
  } catch (error) {
    const [path, what] = CHECKED_FIELDS[field]
    throw new ConfigError(path, `${what}: ${errorText(error)}`, { cause: error })
  }
  return config
}
