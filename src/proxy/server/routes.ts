// Route configurations of RDS on the main thread: parsed, handed to the workers, kept while a listener names them.

import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { DumpedResource } from '../admin/source.ts'
import type { RouteNeed } from '../config/extension.ts'
import { createParseContext, type ExtensionRegistry } from '../config/extension-registry.ts'
import type { Scope } from '../observe/stats.ts'
import { parseRouteConfiguration } from '../route/parse.ts'
import { type KnownRoutes, knownRoutes, readRouteChange } from '../route/route-change.ts'
import { type FileSources, filePath } from './file-source.ts'
import { decodeResource, dumped, type IncomingResource, joinErrors, sameBytes, type UnknownFields } from './resource.ts'
import { NamedSubscriptions } from './subscription-stats.ts'
import { WantedNames } from './wanted-names.ts'
import type { Warming } from './warming.ts'
import type { Workers } from './workers.ts'

interface KnownResource {
  readonly resource: IncomingResource
  readonly dump: DumpedResource
  /** Null: the next version is read whole. */
  readonly routes: KnownRoutes | null
}

export class RouteResources {
  private readonly registry: ExtensionRegistry
  private readonly workers: Workers
  private readonly warming: Warming
  private readonly files: FileSources
  private readonly unknown: UnknownFields
  /** Names that no subscription asks for. */
  private readonly fromFiles = new Set<string>()
  private readonly wanted = new WantedNames()
  private readonly known = new Map<string, KnownResource>()
  private readonly stats: Scope
  readonly subscriptions = new NamedSubscriptions()
  rds: { add(names: Iterable<string>): void; remove(names: Iterable<string>): void } | null = null

  constructor(
    registry: ExtensionRegistry,
    workers: Workers,
    warming: Warming,
    files: FileSources,
    unknown: UnknownFields,
    stats: Scope,
  ) {
    this.registry = registry
    this.workers = workers
    this.warming = warming
    this.files = files
    this.unknown = unknown
    this.stats = stats
  }

  /** Makes sure that somebody delivers it. Throws ConfigError. */
  ensure(name: string, { source, statPrefix }: RouteNeed): void {
    const path = filePath(source)
    if (path !== null) {
      this.fromFiles.add(name)
      this.begin(name, statPrefix, path)
      this.files.use('routes', path, (resources) => this.update(resources), {
        attempt: () => this.subscriptions.attempt(path),
        failure: () => this.subscriptions.failure(path),
      })
    } else if (this.rds === null) {
      throw new ConfigError(
        '',
        `there is no ADS to ask for route configuration '${name}'; set dynamic_resources.ads_config or a path_config_source`,
      )
    } else this.begin(name, statPrefix, null)
  }

  private begin(name: string, statPrefix: string, path: string | null): void {
    const made = (): Scope => {
      const scope = this.stats.scope(`http.${statPrefix}.rds.${name}`)
      scope.counter('config_reload')
      scope.counter('update_empty')
      scope.gauge('config_reload_time_ms')
      return scope
    }
    this.subscriptions.begin(name, made, path)
  }

  has(name: string): boolean {
    return this.known.has(name)
  }

  /** Subscribes to what `user` names; an empty set lets go. */
  use(user: object, names: ReadonlySet<string>): void {
    const changes = this.wanted.use(user, names)
    const gone = changes.gone.filter((name) => !this.fromFiles.has(name))
    const fresh = changes.fresh.filter((name) => !this.fromFiles.has(name))
    if (fresh.length > 0) this.rds?.add(fresh)
    if (gone.length > 0) this.rds?.remove(gone)
    for (const name of gone) {
      this.subscriptions.end(name)
      if (this.known.delete(name)) void this.workers.apply({ kind: 'remove-routes', name })
    }
  }

  /** One RDS response; returns the NACK reason or null. */
  async update(added: readonly IncomingResource[]): Promise<string | null> {
    const errors: string[] = []
    const startedMs = performance.now()
    for (const resource of added) {
      const current = this.known.get(resource.name)
      try {
        const same = current !== undefined && sameBytes(current.resource.body, resource.body)
        const routes = same ? current.routes : await this.apply(resource, current?.routes ?? null)
        // Nobody named it any more while the workers took it: they were told to drop it, and it will be asked for anew.
        if (this.known.get(resource.name) !== current) continue
        this.known.set(resource.name, { resource, dump: dumped(RouteConfigurationSchema, resource), routes })
        this.subscriptions.success(resource.name, resource.version, startedMs)
        if (!same) this.countReload(resource.name)
        this.warming.satisfied(`route:${resource.name}`)
      } catch (error) {
        this.subscriptions.rejected(resource.name)
        errors.push(`${resource.name}: ${errorText(error)}`)
      }
    }
    return joinErrors(errors)
  }

  private countReload(name: string): void {
    const scope = this.subscriptions.scope(name)
    scope?.counter('config_reload').inc()
    scope?.gauge('config_reload_time_ms').set(Date.now())
  }

  /** Throws what is wrong with the resource, having changed nothing. */
  private async apply(resource: IncomingResource, before: KnownRoutes | null): Promise<KnownRoutes | null> {
    const context = createParseContext(this.registry)
    const read = before && readRouteChange(before, resource.body, context)
    if (read) {
      await this.workers.apply({ kind: 'change-routes', change: read.change })
      return read.known
    }
    const message = decodeResource(RouteConfigurationSchema, resource)
    const clean = this.unknown.check(RouteConfigurationSchema, message, resource.name)
    const config = parseRouteConfiguration(message, context)
    await this.workers.apply({ kind: 'routes', config })
    return clean ? knownRoutes(resource.body, config) : null
  }

  dump(): readonly DumpedResource[] {
    return [...this.known.values()].map((known) => known.dump)
  }
}
