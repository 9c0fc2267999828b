// Listeners on the main thread: parse, warm, hand to the workers, keep the last good one.

import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { DumpedError, DumpedListener, DumpedResource, ListenerStatusData } from '../admin/source.ts'
import { createParseContext, type ExtensionRegistry, noDependencies } from '../config/extension-registry.ts'
import { isAnyAddress } from '../network/address.ts'
import type { Address } from '../network/connection.ts'
import { type ListenerConfig, parseListener } from '../network/listener-config.ts'
import type { Counter, Gauge, Scope } from '../observe/stats.ts'
import type { DiscoveryNeeds, ExtensionResources } from './extensions.ts'
import {
  anyOf,
  decodeResource,
  dumped,
  fetchTimeoutMs,
  type IncomingResource,
  joinErrors,
  sameBytes,
  type UnknownFields,
} from './resource.ts'
import type { RouteResources } from './routes.ts'
import type { SecretResources } from './secrets.ts'
import type { Need, Warming } from './warming.ts'
import type { Workers } from './workers.ts'

interface KnownListener {
  readonly config: ListenerConfig
  readonly resource: IncomingResource
  readonly dump: DumpedResource
  readonly fixed: boolean
  readonly routes: ReadonlySet<string>
  readonly extensions: DiscoveryNeeds
  /** As bound; set when active. */
  addresses: readonly Address[]
  /** Removed while the workers took it. */
  gone: boolean
}

interface Stats {
  readonly added: Counter
  readonly modified: Counter
  readonly removed: Counter
  readonly createSuccess: Counter
  readonly createFailure: Counter
  readonly updatedInPlace: Counter
  readonly active: Gauge
  readonly warming: Gauge
}

export class ListenerResources {
  private readonly registry: ExtensionRegistry
  private readonly workers: Workers
  private readonly warming: Warming
  private readonly secrets: SecretResources
  private readonly routes: RouteResources
  private readonly extensions: ExtensionResources
  private readonly knowsCluster: (name: string) => boolean
  private readonly unknown: UnknownFields
  private readonly log: Logger
  private readonly stats: Stats
  private readonly active = new Map<string, KnownListener>()
  private readonly warmingListeners = new Map<string, KnownListener>()
  /** On their way to the workers: the next version may be warming already. */
  private readonly applying = new Set<KnownListener>()
  private readonly errors = new Map<string, DumpedError>()
  private onIdle: (() => void)[] = []
  versionInfo = ''

  constructor(
    registry: ExtensionRegistry,
    workers: Workers,
    warming: Warming,
    secrets: SecretResources,
    routes: RouteResources,
    extensions: ExtensionResources,
    knowsCluster: (name: string) => boolean,
    unknown: UnknownFields,
    log: Logger,
    stats: Scope,
  ) {
    this.registry = registry
    this.workers = workers
    this.warming = warming
    this.secrets = secrets
    this.routes = routes
    this.knowsCluster = knowsCluster
    this.extensions = extensions
    this.unknown = unknown
    this.log = log
    const scope = stats.scope('listener_manager')
    this.stats = {
      added: scope.counter('listener_added'),
      modified: scope.counter('listener_modified'),
      removed: scope.counter('listener_removed'),
      createSuccess: scope.counter('listener_create_success'),
      createFailure: scope.counter('listener_create_failure'),
      updatedInPlace: scope.counter('listener_in_place_updated'),
      active: scope.gauge('total_listeners_active'),
      warming: scope.gauge('total_listeners_warming'),
    }
  }

  /** A listener of the bootstrap; one that waits for routes or secrets follows later. Rejects with ConfigError or the system's bind error. */
  async addStatic(resource: IncomingResource): Promise<void> {
    const { known, needs } = this.parse(resource, true)
    if (this.active.has(known.config.name))
      throw new ConfigError('', `error adding listener: '${known.config.name}' is configured twice`)
    const warm = this.warm(known, needs)
    if (needs.length === 0) await warm
    else warm.catch((error: unknown) => this.refuse(resource, error))
  }

  /** One LDS response; returns the NACK reason or null. Good listeners of a bad response are applied all the same. */
  async update(
    added: readonly IncomingResource[],
    removed: readonly string[],
    version: string,
  ): Promise<string | null> {
    const errors: string[] = []
    const jobs: Promise<void>[] = []
    // Removals first: a listener that moves to a new name frees its address.
    for (const name of removed) await this.remove(name)
    for (const resource of added) {
      const refused = (error: unknown): void => {
        errors.push(`Error adding/updating listener(s) ${resource.name}: ${errorText(error)}`)
        this.refuse(resource, error)
      }
      try {
        const current = this.warmingListeners.get(resource.name) ?? this.active.get(resource.name)
        if (current !== undefined && sameBytes(current.resource.body, resource.body)) {
          this.errors.delete(resource.name)
          continue
        }
        if (current?.fixed) throw new ConfigError('', 'a static listener cannot be replaced by LDS')
        const { known, needs } = this.parse(resource, false)
        const warm = this.warm(known, needs)
        if (needs.length === 0) jobs.push(warm.catch(refused))
        else warm.catch((error: unknown) => this.refuse(resource, error))
      } catch (error) {
        refused(error)
      }
    }
    await Promise.all(jobs)
    if (errors.length === 0) this.versionInfo = version
    return joinErrors(errors)
  }

  /** Resolves when no listener warms. */
  settled(): Promise<void> {
    if (this.warmingListeners.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.onIdle.push(resolve))
  }

  /** Bound listeners, for /listeners. */
  status(): ListenerStatusData[] {
    return [...this.active.values()].map((known) => ({
      name: known.config.name,
      address: known.addresses[0]!,
      additionalAddresses: known.addresses.slice(1),
    }))
  }

  dump(): { versionInfo: string; static: readonly DumpedResource[]; dynamic: readonly DumpedListener[] } {
    const names = new Set([...this.active.keys(), ...this.warmingListeners.keys(), ...this.errors.keys()])
    const dynamic: DumpedListener[] = []
    const fixed: DumpedResource[] = []
    for (const name of names) {
      const active = this.active.get(name)
      const warming = this.warmingListeners.get(name)
      const error = this.errors.get(name)
      if (active?.fixed) fixed.push(active.dump)
      else
        dynamic.push({
          name,
          ...(active && { active: active.dump }),
          ...(warming && { warming: warming.dump }),
          ...(error && { error }),
        })
    }
    return { versionInfo: this.versionInfo, static: fixed, dynamic }
  }

  /** Messages of the listeners that serve. */
  activeMessages(): { listener: Listener; version: string }[] {
    return [...this.active.values()].map((known) => ({
      listener: decodeResource(ListenerSchema, known.resource),
      version: known.resource.version,
    }))
  }

  activeConfigs(): ListenerConfig[] {
    return [...this.active.values()].map(({ config }) => config)
  }

  /** From then on the version is a user of its secrets. Throws ConfigError, and nothing stays. */
  private parse(resource: IncomingResource, fixed: boolean): { known: KnownListener; needs: Need[] } {
    try {
      return this.read(resource, fixed)
    } catch (error) {
      this.secrets.release(resource)
      throw error
    }
  }

  private read(resource: IncomingResource, fixed: boolean): { known: KnownListener; needs: Need[] } {
    const message = decodeResource(ListenerSchema, resource)
    if (!fixed) this.unknown.check(ListenerSchema, message, resource.name)
    const dependencies = noDependencies()
    const config = parseListener(message, createParseContext(this.registry, dependencies), this.registry)
    this.checkAddress(config)
    for (const [name, field] of dependencies.clusters)
      if (!this.knowsCluster(name)) throw new ConfigError(field, `route: unknown cluster '${name}'`)
    const needs: Need[] = []
    this.secrets.use(resource, dependencies.secrets)
    for (const [key, source] of dependencies.secrets)
      if (!this.secrets.has(key)) needs.push({ key: `secret:${key}`, timeoutMs: fetchTimeoutMs(source) })
    for (const [name, need] of dependencies.routes) {
      this.routes.ensure(name, need)
      if (!this.routes.has(name))
        needs.push({
          key: `route:${name}`,
          timeoutMs: fetchTimeoutMs(need.source),
          onTimeout: () => this.routes.subscriptions.fetchTimeout(name),
        })
    }
    for (const [name, need] of dependencies.extensions) {
      this.extensions.check(name, need)
      if (!need.withoutWarming && !this.extensions.answered(name))
        needs.push({
          key: `extension:${name}`,
          timeoutMs: fetchTimeoutMs(need.source),
          onTimeout: () => this.extensions.subscriptions.fetchTimeout(name),
        })
    }
    const known: KnownListener = {
      config,
      resource,
      dump: dumped(ListenerSchema, resource),
      fixed,
      routes: new Set(dependencies.routes.keys()),
      extensions: dependencies.extensions,
      addresses: config.addresses,
      gone: false,
    }
    return { known, needs }
  }

  /** Two listeners of one address cannot both be bound, nor be told apart by hand-off. */
  private checkAddress(config: ListenerConfig): void {
    for (const other of this.active.values()) {
      if (other.config.name === config.name) continue
      for (const address of config.addresses) {
        if (address.port === 0 && address.pipe === undefined && !(isAnyAddress(address.ip) && !config.bindToPort))
          continue
        if (other.config.addresses.some((a) => a.text === address.text)) {
          throw new ConfigError(
            '',
            `error adding listener: '${config.name}' has duplicate address '${address.text}' as existing listener`,
          )
        }
      }
    }
  }

  private warm(known: KnownListener, needs: readonly Need[]): Promise<void> {
    const { name } = known.config
    const replaced = this.warmingListeners.get(name)
    if (replaced !== undefined && !this.applying.has(replaced)) this.letGo(replaced)
    this.warmingListeners.set(name, known)
    this.errors.delete(name)
    this.count()
    return new Promise((resolve, reject) => {
      this.warming.wait(`listener ${name}`, needs, () => this.activate(known).then(resolve, reject))
      this.use(known)
    })
  }

  private async activate(known: KnownListener): Promise<void> {
    const { name } = known.config
    this.applying.add(known)
    try {
      known.addresses = (await this.workers.apply({ kind: 'listener', config: known.config })) ?? known.config.addresses
      if (known.gone) {
        this.letGo(known)
        return
      }
      const old = this.active.get(name)
      this.active.set(name, known)
      if (old !== undefined) {
        this.letGo(old)
        if (old.config.key === known.config.key) {
          known.addresses = old.addresses
          this.stats.updatedInPlace.inc()
        }
        this.stats.modified.inc()
      } else this.stats.added.inc()
      this.stats.createSuccess.add(this.workers.count)
    } catch (error) {
      this.letGo(known)
      this.stats.createFailure.inc()
      throw error
    } finally {
      this.applying.delete(known)
      if (this.warmingListeners.get(name) === known) this.warmingListeners.delete(name)
      this.count()
    }
  }

  private async remove(name: string): Promise<void> {
    const warming = this.warmingListeners.get(name)
    if ((this.active.get(name) ?? warming)?.fixed) return
    this.errors.delete(name)
    if (warming !== undefined) {
      this.warming.cancel(`listener ${name}`)
      this.warmingListeners.delete(name)
      if (!this.applying.has(warming)) this.letGo(warming)
    }
    const onTheWay = [...this.applying].filter((known) => known.config.name === name)
    for (const known of onTheWay) known.gone = true
    const active = this.active.get(name)
    this.active.delete(name)
    // Also what the workers have not answered for yet: this comes after it.
    if (active !== undefined || onTheWay.length > 0) await this.workers.apply({ kind: 'remove-listener', name })
    if (active !== undefined) this.letGo(active)
    if (active !== undefined || warming !== undefined || onTheWay.length > 0) this.stats.removed.inc()
    this.count()
  }

  /** Subscribes to what the listener names. */
  private use(known: KnownListener): void {
    this.routes.use(known, known.routes)
    this.extensions.use(known, known.extensions)
  }

  private letGo(known: KnownListener): void {
    this.secrets.release(known.resource)
    this.routes.use(known, new Set())
    this.extensions.use(known, new Map())
  }

  private refuse(resource: IncomingResource, error: unknown): void {
    const details = errorText(error)
    this.log.warn({ listener: resource.name, reason: details }, 'listener refused, the last good one stays')
    this.errors.set(resource.name, {
      details,
      versionInfo: resource.version,
      lastUpdateAttempt: new Date(),
      failedConfiguration: anyOf(ListenerSchema, resource.body),
    })
  }

  private count(): void {
    this.stats.active.set(this.active.size)
    this.stats.warming.set(this.warmingListeners.size)
    if (this.warmingListeners.size > 0) return
    const waiting = this.onIdle
    this.onIdle = []
    for (const resolve of waiting) resolve()
  }
}
