// Extension configurations of ECDS on the main thread: parsed, handed to the workers, kept while a listener names them.

import { existsSync } from 'node:fs'
import { TypedExtensionConfigSchema } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { DumpedResource } from '../admin/source.ts'
import { checkDiscoveredType, type DiscoveryNeed } from '../config/discovery.ts'
import type { HttpFilterExtension, ParsedExtension } from '../config/extension.ts'
import { createParseContext, type ExtensionRegistry, noDependencies } from '../config/extension-registry.ts'
import type { Scope } from '../observe/stats.ts'
import { type FileSources, filePath } from './file-source.ts'
import { decodeResource, dumped, type IncomingResource, joinErrors, sameBytes, type UnknownFields } from './resource.ts'
import { NamedSubscriptions } from './subscription-stats.ts'
import { WantedNames } from './wanted-names.ts'
import type { Warming } from './warming.ts'
import type { Workers } from './workers.ts'

/** By resource name: what each listener expects of it. */
export type DiscoveryNeeds = ReadonlyMap<string, DiscoveryNeed>

export class ExtensionResources {
  private readonly registry: ExtensionRegistry
  private readonly workers: Workers
  private readonly warming: Warming
  private readonly files: FileSources
  private readonly unknown: UnknownFields
  private readonly stats: Scope
  /** Names that no subscription asks for. */
  private readonly fromFiles = new Set<string>()
  private readonly wanted = new WantedNames()
  private readonly users = new Map<object, DiscoveryNeeds>()
  private readonly known = new Map<string, { resource: IncomingResource; dump: DumpedResource }>()
  private readonly answers = new Set<string>()
  readonly subscriptions = new NamedSubscriptions()
  ecds: { add(names: Iterable<string>): void; remove(names: Iterable<string>): void } | null = null

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

  /** Throws ConfigError when nothing can deliver it. */
  check(name: string, { source }: DiscoveryNeed): void {
    const path = filePath(source)
    if (path !== null && !existsSync(path))
      throw new ConfigError('', `paths must refer to an existing path in the system: '${path}' does not exist`)
    if (path === null && (source?.configSourceSpecifier.case !== 'ads' || this.ecds === null))
      throw new ConfigError(
        '',
        `nothing delivers the configuration of '${name}'; its config_source must be ads (with dynamic_resources.ads_config) or path_config_source`,
      )
  }

  /** The first answer was there, if only to be refused: nobody waits any more. */
  answered(name: string): boolean {
    return this.answers.has(name)
  }

  /** Makes what `user` needs come; an empty map lets go. */
  use(user: object, needs: DiscoveryNeeds): void {
    if (needs.size === 0) this.users.delete(user)
    else this.users.set(user, needs)
    for (const [name, { source }] of needs) {
      const path = filePath(source)
      if (path === null || this.fromFiles.has(name)) continue
      this.fromFiles.add(name)
      this.begin(name, path)
      this.files.use(`extension ${name}`, path, (resources) => this.updateFromFile(name, resources), {
        attempt: () => this.subscriptions.attempt(path),
        failure: () => this.subscriptions.failure(path),
      })
    }
    const { fresh, gone } = this.wanted.use(user, new Set(needs.keys()))
    const subscribed = (name: string): boolean => !this.fromFiles.has(name)
    for (const name of fresh.filter(subscribed)) this.begin(name, null)
    if (fresh.some(subscribed)) this.ecds?.add(fresh.filter(subscribed))
    if (gone.some(subscribed)) this.ecds?.remove(gone.filter(subscribed))
    for (const name of gone.filter(subscribed)) {
      this.answers.delete(name)
      this.subscriptions.end(name)
      void this.forget(name)
    }
  }

  /** One ECDS response; returns the NACK reason or null. */
  async update(added: readonly IncomingResource[], removed: readonly string[]): Promise<string | null> {
    const errors: string[] = []
    for (const resource of added) {
      const reason = await this.receive(resource.name, resource)
      if (reason !== null) errors.push(`${resource.name}: ${reason}`)
    }
    // The default configuration takes its place again, where there is one. A name that never existed needs no waiting.
    for (const name of removed) {
      await this.forget(name)
      this.settle(name)
    }
    return joinErrors(errors)
  }

  dump(): readonly DumpedResource[] | null {
    return this.users.size === 0 ? null : [...this.known.values()].map(({ dump }) => dump)
  }

  private updateFromFile(name: string, resources: readonly IncomingResource[]): Promise<string | null> {
    const first = resources[0]
    if (resources.length !== 1 || first === undefined)
      return this.refuse(name, `Unexpected number of resources in ExtensionConfigDS response: ${resources.length}`)
    if (first.name !== name)
      return this.refuse(name, `Unexpected resource name in ExtensionConfigDS response: ${first.name}`)
    return this.receive(name, first)
  }

  private refuse(name: string, reason: string): Promise<string> {
    this.subscriptions.scope(name)?.counter('config_fail').inc()
    this.subscriptions.rejected(name)
    this.settle(name)
    return Promise.resolve(reason)
  }

  /** As in Envoy a refusal ends the wait too: requests are answered by the default configuration, or with 500. */
  private settle(name: string): void {
    this.answers.add(name)
    this.warming.satisfied(`extension:${name}`)
  }

  private begin(name: string, path: string | null): void {
    const made = (): Scope => {
      const scope = this.stats.scope(`extension_config_discovery.http_filter.${name}`)
      for (const counter of ['config_reload', 'config_fail', 'config_conflict']) scope.counter(counter)
      return scope
    }
    this.subscriptions.begin(name, made, path)
  }

  private async receive(name: string, resource: IncomingResource): Promise<string | null> {
    const startedMs = performance.now()
    try {
      const current = this.known.get(name)
      if (current === undefined || !sameBytes(current.resource.body, resource.body)) {
        const parsed = this.parse(name, resource)
        await this.workers.apply({ kind: 'extension', name, parsed })
        this.subscriptions.scope(name)?.counter('config_reload').inc()
      }
      this.known.set(name, { resource, dump: dumped(TypedExtensionConfigSchema, resource) })
      this.subscriptions.success(name, resource.version, startedMs)
      this.settle(name)
      return null
    } catch (error) {
      return this.refuse(name, errorText(error))
    }
  }

  /** Throws ConfigError. */
  private parse(name: string, resource: IncomingResource): ParsedExtension {
    const message = decodeResource(TypedExtensionConfigSchema, resource)
    this.unknown.check(TypedExtensionConfigSchema, message, name)
    const dependencies = noDependencies()
    const context = createParseContext(this.registry, dependencies, 'typed_config')
    const needs = [...this.users.values()].flatMap((of) => of.get(name) ?? [])
    const parsed = context.parseAny(needs[0]?.category ?? 'http_filter', message.typedConfig, name)
    for (const { typeNames } of needs) checkDiscoveredType(parsed, typeNames, '')
    const extension = this.registry.get('http_filter', parsed.typeUrl) as HttpFilterExtension | undefined
    if (extension?.terminal === true)
      throw new ConfigError(
        '',
        `Error: terminal filter named ${name} of type ${extension.name} must be the last filter in a http filter chain.`,
      )
    if (dependencies.secrets.size > 0)
      throw new ConfigError('', 'secrets of a discovered configuration are not supported by this proxy')
    return parsed
  }

  private async forget(name: string): Promise<void> {
    if (this.known.delete(name)) await this.workers.apply({ kind: 'remove-extension', name })
  }
}
