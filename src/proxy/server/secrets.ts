// The secrets of the process: where each comes from, its current value, and who waits for it.

import { create, toBinary } from '@bufbuild/protobuf'
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { DumpedResource } from '../admin/source.ts'
import { adsSecretKey, secretName } from '../config/secret-key.ts'
import type { Secret } from '../network/tls/secret-store.ts'
import type { Scope } from '../observe/stats.ts'
import { filePath } from './file-source.ts'
import type { SecretSource, SecretValue } from './options.ts'
import { parseSecret } from './parse-secret.ts'
import { decodeResource, dumped, type IncomingResource, joinErrors } from './resource.ts'
import { secretDirectories, watchDirectories } from './secret-files.ts'
import { NamedSubscriptions } from './subscription-stats.ts'
import { WantedNames } from './wanted-names.ts'
import type { Warming } from './warming.ts'
import type { Workers } from './workers.ts'

/** What a version of a listener or cluster names, by key (config/secret-key.ts): who delivers it; undefined = it is static. */
export type SecretNeeds = ReadonlyMap<string, ConfigSource | undefined>

const NO_SECRETS: SecretNeeds = new Map()

/** Starts delivery of one secret by SDS; returns the function that ends it. Throws ConfigError. */
export type SdsSubscribe = (
  key: string,
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
  readonly key: string
  /** Ends its delivery. */
  end: () => void
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
  private readonly wanted = new WantedNames()
  /** By key. */
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
    const secret = parseSecret(resource, resource.name)
    this.fixed.set(resource.name, { resource, secret, dump: dumped(SecretSchema, resource) })
    await this.workers.apply({ kind: 'secret', secret })
  }

  /**
   * What `user` names from now on. Delivery begins with the first user of a key and ends with the last one. Throws
   * ConfigError when nothing can deliver it; then `user` names nothing.
   */
  use(user: object, needs: SecretNeeds): void {
    const { fresh, gone } = this.wanted.use(user, new Set(needs.keys()))
    try {
      for (const key of fresh) this.begin(key, needs.get(key))
    } catch (error) {
      this.release(user)
      throw error
    }
    for (const key of gone) this.end(key)
  }

  /** `user` is no more. */
  release(user: object): void {
    this.use(user, NO_SECRETS)
  }

  private begin(key: string, source: ConfigSource | undefined): void {
    if (this.fixed.has(key)) return
    const name = secretName(key)
    if (source === undefined)
      throw new ConfigError('', `unknown static secret '${name}'; add it to static_resources.secrets`)
    const { ads } = this
    const overAds = source.configSourceSpecifier.case === 'ads'
    if (overAds && ads === null)
      throw new ConfigError(
        'sds_config.ads',
        `there is no ADS to ask for secret '${name}'; set dynamic_resources.ads_config`,
      )
    const known: Known = { key, end: () => {}, dump: null, loaded: null, endWatch: null }
    // Known before it is asked for: a file answers at once.
    this.dynamic.set(key, known)
    const inProcess = this.inProcess !== undefined && isFrom(this.inProcess.cluster, source) ? this.inProcess : null
    const path = filePath(source)
    if (overAds || inProcess !== null || path !== null) this.subscriptions.begin(key, () => this.scope(name), path)
    if (overAds) {
      known.end = () => ads?.remove([name])
      ads?.add([name])
    } else if (inProcess !== null) {
      known.end = inProcess.watch(name, (value) => void this.receive(fromValue(name, value), known).then(this.report))
    } else known.end = this.sds(key, source, (resource) => this.receive(resource, known), this.subscriptions)
  }

  /** Nobody names it any more. */
  private end(key: string): void {
    const known = this.dynamic.get(key)
    if (known === undefined) return
    this.dynamic.delete(key)
    known.end()
    known.endWatch?.()
    this.subscriptions.end(key)
    this.workers.apply({ kind: 'remove-secret', key }).catch((error: unknown) => this.report(errorText(error)))
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
      const known = this.dynamic.get(adsSecretKey(resource.name))
      const reason = known === undefined ? null : await this.receive(resource, known)
      if (reason !== null) errors.push(reason)
    }
    return joinErrors(errors)
  }

  has(key: string): boolean {
    return this.fixed.has(key) || (this.dynamic.get(key)?.dump ?? null) !== null
  }

  /** For /config_dump. */
  dump(): { static: readonly DumpedResource[]; active: readonly DumpedResource[]; warming: readonly DumpedResource[] } {
    const active: DumpedResource[] = []
    const warming: DumpedResource[] = []
    for (const [key, known] of this.dynamic) {
      const name = secretName(key)
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
  secret(key: string): Secret | undefined {
    return (this.fixed.get(key) ?? this.dynamic.get(key)?.loaded)?.secret
  }

  /** A rotation on disk is a new version of the secret that names the files. */
  private watchFiles(resource: IncomingResource, known: Known): (() => void) | null {
    const directories = secretDirectories(decodeResource(SecretSchema, resource))
    if (directories.size === 0) return null
    return watchDirectories(directories, () => {
      if (known.loaded?.resource === resource) void this.receive(resource, known).then(this.report)
    })
  }

  /** Why the secret is refused, or null. Of a refused one nothing stays: the last good one is in force, and followed. */
  private receive(resource: IncomingResource, known: Known): Promise<string | null> {
    const result = this.last.then(() => this.apply(resource, known))
    this.last = result
    return result
  }

  private async apply(resource: IncomingResource, known: Known): Promise<string | null> {
    const { key } = known
    const wanted = (): boolean => this.dynamic.get(key) === known
    if (!wanted()) return null
    // Files that it names have changed.
    const again = known.loaded?.resource === resource
    const startedMs = performance.now()
    let endWatch: (() => void) | null = null
    try {
      // Before the files are read: whatever comes later is a change.
      if (!again) endWatch = this.watchFiles(resource, known)
      const secret = parseSecret(resource, key)
      await this.workers.apply({ kind: 'secret', secret })
      if (!wanted()) {
        endWatch?.()
        return null
      }
      known.dump = dumped(SecretSchema, resource)
      known.loaded = { resource, secret }
      if (!again) {
        known.endWatch?.()
        known.endWatch = endWatch
        this.subscriptions.success(key, resource.version, startedMs)
      }
      this.warming.satisfied(`secret:${key}`)
      return null
    } catch (error) {
      endWatch?.()
      if (again) this.subscriptions.scope(key)?.counter('key_rotation_failed').inc()
      else this.subscriptions.rejected(key)
      return `${resource.name}: ${errorText(error)}`
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
