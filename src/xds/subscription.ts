// The client's side of one resource type: what is asked for, what is known. Pure state; requests are read out of it.
import type { DeltaDiscoveryResponse, DiscoveryResponse } from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { fail, ok, type Result } from '../base/errors.ts'
import { isNamedType } from './type-urls.ts'
import { type ReceivedResource, unpackDelta, unpackSotw } from './unpack.ts'

/** One response as its handler sees it; equal for both protocol variants. */
export interface ResourceChange {
  /** version_info / system_version_info. */
  readonly version: string
  readonly added: readonly ReceivedResource[]
  /** Names that are gone, also those that the server says never existed. */
  readonly removed: readonly string[]
  /** State of the world: `added` repeats what has not changed. */
  readonly sotw: boolean
}

/** The fields of a request that this type contributes; the stream adds node and type URL. */
export interface RequestParts {
  readonly names: readonly string[]
  readonly unsubscribe: readonly string[]
  readonly initialVersions: Readonly<Record<string, string>>
  readonly versionInfo: string
  readonly nonce: string
  readonly error: string | null
}

export class SubscriptionState {
  readonly typeUrl: string
  readonly delta: boolean
  readonly wildcard: boolean
  readonly names = new Set<string>()
  /** Version of the last accepted response. */
  version = ''
  /** Name to version of what was accepted. */
  readonly versions = new Map<string, string>()
  #nonce = ''
  #firstOnStream = true
  /** State of the world: the next request must be sent. Delta: kept in the two sets. */
  #dirty = true
  /** Names that this stream has asked for. */
  readonly #asked = new Set<string>()
  readonly #subscribe = new Set<string>()
  readonly #unsubscribe = new Set<string>()
  #answer: { nonce: string; error: string | null } | null = null

  constructor(typeUrl: string, delta: boolean, wildcard: boolean, names: Iterable<string>) {
    this.typeUrl = typeUrl
    this.delta = delta
    this.wildcard = wildcard
    for (const name of names) this.add(name)
  }

  /** Starts watching a name, or asks for it anew (a cluster that warms again wants a fresh answer). */
  add(name: string): void {
    this.names.add(name)
    this.#unsubscribe.delete(name)
    this.#subscribe.add(name)
    this.#dirty = true
  }

  /** False when the name was not watched. */
  remove(name: string): boolean {
    if (!this.names.delete(name)) return false
    this.versions.delete(name)
    this.#subscribe.delete(name)
    // A name that the server never heard of needs no unsubscription.
    if (this.#asked.delete(name)) this.#unsubscribe.add(name)
    this.#dirty = true
    return true
  }

  /** A new stream: nonces are void, versions are told again. */
  reconnected(): void {
    this.#nonce = ''
    this.#firstOnStream = true
    this.#answer = null
    this.#dirty = true
    this.#unsubscribe.clear()
    this.#asked.clear()
  }

  /** The request that is due, or null. Reading it counts as sending it. */
  takeRequest(): RequestParts | null {
    return this.delta ? this.#takeDelta() : this.#takeSotw()
  }

  #takeSotw(): RequestParts | null {
    const answer = this.#answer
    if (answer === null && !this.#dirty) return null
    // A named type with no name has nothing to say on a new stream.
    if (this.#firstOnStream && !this.wildcard && this.names.size === 0) return null
    this.#answer = null
    this.#dirty = false
    this.#firstOnStream = false
    this.#subscribe.clear()
    this.#unsubscribe.clear()
    const names = this.wildcard && this.names.size > 0 ? ['*', ...this.names] : [...this.names]
    return this.#parts(names, [], {}, answer?.nonce ?? this.#nonce, answer?.error ?? null)
  }

  #takeDelta(): RequestParts | null {
    if (this.#firstOnStream) {
      if (!this.wildcard && this.names.size === 0) return null
      this.#firstOnStream = false
      this.#subscribe.clear()
      for (const name of this.names) this.#asked.add(name)
      // The empty list means "all" for CDS and LDS only; elsewhere, and beside names, it is spelled out.
      const star = this.wildcard && (this.names.size > 0 || isNamedType(this.typeUrl)) ? ['*'] : []
      return this.#parts([...star, ...this.names], [], Object.fromEntries(this.versions), '', null)
    }
    const answer = this.#answer
    if (answer === null && this.#subscribe.size === 0 && this.#unsubscribe.size === 0) return null
    const parts = this.#parts(
      [...this.#subscribe],
      [...this.#unsubscribe],
      {},
      answer?.nonce ?? '',
      answer?.error ?? null,
    )
    this.#answer = null
    for (const name of this.#subscribe) this.#asked.add(name)
    this.#subscribe.clear()
    this.#unsubscribe.clear()
    return parts
  }

  #parts(
    names: readonly string[],
    unsubscribe: readonly string[],
    initialVersions: Record<string, string>,
    nonce: string,
    error: string | null,
  ): RequestParts {
    return { names, unsubscribe, initialVersions, versionInfo: this.version, nonce, error }
  }

  /** Reads a response into a change; a malformed one is a reason to refuse it. */
  read(response: DiscoveryResponse | DeltaDiscoveryResponse): Result<ResourceChange> {
    return this.delta
      ? this.#readDelta(response as DeltaDiscoveryResponse)
      : this.#readSotw(response as DiscoveryResponse)
  }

  #readDelta(response: DeltaDiscoveryResponse): Result<ResourceChange> {
    const unpacked = unpackDelta(response, this.versions)
    if (!unpacked.ok) return unpacked
    const added = unpacked.value.filter((resource) => this.#wants(resource.name))
    const removed = [...new Set(response.removedResources)].filter((name) => this.#wants(name))
    for (const name of removed) {
      if (added.some((resource) => resource.name === name))
        return fail(name, 'is both added and removed in one response')
    }
    return ok({ version: response.systemVersionInfo, added, removed, sotw: false })
  }

  #readSotw(response: DiscoveryResponse): Result<ResourceChange> {
    const unpacked = unpackSotw(response, this.versions)
    if (!unpacked.ok) return unpacked
    const added = unpacked.value.filter((resource) => this.#wants(resource.name))
    let removed: string[] = []
    if (!isNamedType(this.typeUrl)) {
      const present = new Set(added.map((resource) => resource.name))
      removed = [...this.versions.keys()].filter((name) => !present.has(name))
    }
    return ok({ version: response.versionInfo, added, removed, sotw: true })
  }

  #wants(name: string): boolean {
    return this.wildcard || this.names.has(name)
  }

  /** The handler took the change: it is what the server is told we have. */
  accepted(change: ResourceChange, nonce: string): void {
    this.version = change.version
    for (const resource of change.added)
      if (this.#wants(resource.name)) this.versions.set(resource.name, resource.version)
    for (const name of change.removed) this.versions.delete(name)
    this.#answered(nonce, null)
  }

  rejected(reason: string, nonce: string): void {
    this.#answered(nonce, reason)
  }

  #answered(nonce: string, error: string | null): void {
    this.#nonce = nonce
    this.#answer = { nonce, error }
  }
}
