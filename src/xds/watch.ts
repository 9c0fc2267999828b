// What one stream watches of one type: a pure state machine. Requests go in, verdicts come out; no I/O, no clock.
import type { DeltaDiscoveryRequest, DiscoveryRequest } from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import type { EncodedResource, ResourceUpdate, SubscriptionChange, WatchedResource } from './server-types.ts'
import { isNamedType } from './type-urls.ts'

/** What a request means. `change` is present when something awaits an answer. */
export type Verdict =
  | { readonly kind: 'subscribe'; readonly change: SubscriptionChange; readonly acked: boolean }
  | { readonly kind: 'ack' }
  | { readonly kind: 'nack'; readonly reason: string; readonly change: SubscriptionChange | null }
  | { readonly kind: 'stale' }
  | { readonly kind: 'unsubscribe' }
  /** Nothing to do, nothing to answer. */
  | { readonly kind: 'none' }

/** What goes on the wire for one update; null when the client needs nothing of it. */
export interface Composed {
  readonly resources: readonly EncodedResource[]
  readonly removed: readonly string[]
}

const NONE: Verdict = { kind: 'none' }
const STALE: Verdict = { kind: 'stale' }
const ACK: Verdict = { kind: 'ack' }

/** The state-of-the-world and delta halves share fields because a watch is shown the same way on debug pages. */
export class Watch implements WatchedResource {
  readonly typeUrl: string
  readonly delta: boolean
  wildcard = false
  names = new Set<string>()
  nonceSent = ''
  nonceAcked = ''
  nonceNacked = ''
  versionSent = ''
  versionAcked = ''
  versions = new Map<string, string>()
  lastError: string | null = null
  lastSentMs = 0
  lastAckedMs = 0
  lastNackedMs = 0
  /** Names that were asked for and not answered yet. */
  readonly #pending = new Set<string>()
  /** A response is due even when it would be empty. */
  #owesAnswer = false
  /** State of the world: the next request must be answered although it reads like an acknowledgement. */
  #answerNext = false
  /** State of the world, types whose responses hold everything: what the client has now, in the order it was sent. */
  readonly #held: Map<string, EncodedResource> | null

  constructor(typeUrl: string, delta: boolean) {
    this.typeUrl = typeUrl
    this.delta = delta
    this.#held = !delta && !isNamedType(typeUrl) ? new Map() : null
  }

  /** A response is on its way and neither acknowledged nor refused. */
  get busy(): boolean {
    return this.nonceSent !== '' && this.nonceSent !== this.nonceAcked && this.nonceSent !== this.nonceNacked
  }

  /** Something is watched. An emptied watch stays, so that a late acknowledgement is not taken for a first request. */
  get active(): boolean {
    return this.wildcard || this.names.size > 0
  }

  #emptied(): Verdict {
    const was = this.active || this.versions.size > 0
    this.wildcard = false
    this.names.clear()
    this.versions.clear()
    this.#pending.clear()
    this.#held?.clear()
    this.#owesAnswer = false
    return was ? { kind: 'unsubscribe' } : NONE
  }

  /** The client will ask again with unchanged names (its clusters changed under it) and must then be answered. */
  answerNext(): void {
    this.#answerNext = true
  }

  /**
   * Decides on a state-of-the-world request, in istiod's order: refusal, unsubscription, first request, stale nonce,
   * acknowledgement, changed names. `first`: this stream had no watch of the type before.
   */
  onRequest(request: DiscoveryRequest, first: boolean): Verdict {
    const names = new Set(request.resourceNames)
    const explicitWildcard = names.delete('*')
    if (request.errorDetail !== undefined && !first)
      return this.#refused(request.responseNonce, request.errorDetail.message, null)
    if (names.size === 0 && !explicitWildcard && isNamedType(this.typeUrl)) return this.#emptied()
    // Once names were sent, an empty list no longer means "all" but "nothing" (Envoy contract 3.2).
    const wildcard = explicitWildcard || (names.size === 0 && (first || this.wildcard))
    if (names.size === 0 && !wildcard) return this.#emptied()
    if (first || request.responseNonce === '') {
      this.#replaceNames(names, wildcard)
      return this.#subscribed([...names], [], first, false)
    }
    if (request.responseNonce !== this.nonceSent) return STALE
    const acked = this.#acknowledged()
    const added = [...names].filter((name) => !this.names.has(name))
    const removed = [...this.names].filter((name) => !names.has(name))
    const widened = wildcard && !this.wildcard
    this.#replaceNames(names, wildcard)
    for (const name of removed) this.#forget(name)
    if (this.#answerNext) return this.#subscribed([...names], removed, false, acked)
    if (added.length > 0 || widened) return this.#subscribed(added, removed, false, acked)
    return acked ? ACK : NONE
  }

  /**
   * Decides on a delta request. Unlike istiod a re-subscription to a known name is answered, as the protocol asks
   * (Envoy re-subscribes to warm a cluster), and name changes that ride on a stale or refusing request still count.
   */
  onDeltaRequest(request: DeltaDiscoveryRequest, first: boolean): Verdict {
    const change = this.#applyDelta(request, first)
    const nonce = request.responseNonce
    if (request.errorDetail !== undefined && !first) return this.#refused(nonce, request.errorDetail.message, change)
    const spontaneous = first || nonce === ''
    const current = !spontaneous && nonce === this.nonceSent
    const acked = current && this.#acknowledged()
    if (!this.active && request.resourceNamesUnsubscribe.length > 0) {
      this.#emptied()
      return { kind: 'unsubscribe' }
    }
    if (change !== null) return { kind: 'subscribe', change, acked }
    if (spontaneous || current) return acked ? ACK : NONE
    return STALE
  }

  #applyDelta(request: DeltaDiscoveryRequest, first: boolean): SubscriptionChange | null {
    const added = new Set<string>()
    const removed: string[] = []
    let widened = false
    // Only the first request of a type on a stream may leave the list empty to mean "all".
    const all = first && request.resourceNamesSubscribe.length === 0 && !isNamedType(this.typeUrl)
    if (!this.wildcard && (all || request.resourceNamesSubscribe.includes('*'))) this.wildcard = widened = true
    for (const name of request.resourceNamesSubscribe) if (name !== '*') this.#addName(name, added)
    // After a reconnect: what the client still has. For types asked for by name these are subscriptions too.
    const known = first ? Object.entries(request.initialResourceVersions) : []
    for (const [name, version] of known) {
      this.versions.set(name, version)
      if (!this.wildcard) this.#addName(name, added)
    }
    for (const name of request.resourceNamesUnsubscribe) {
      if (name === '*') this.#dropWildcard(removed)
      else if (this.names.delete(name)) {
        removed.push(name)
        // While the wildcard still covers it, only an answer tells the client whether it exists.
        if (this.wildcard) added.add(name)
        else {
          this.#forget(name)
          added.delete(name)
        }
      }
    }
    if (!first && !widened && added.size === 0) return null
    if (!this.wildcard && this.names.size === 0) return null
    // What the client brought along from its last stream is sent again only when it differs.
    for (const name of added) if (!first || !this.versions.has(name)) this.#pending.add(name)
    this.#owesAnswer = true
    return { added: [...added], removed, first, wildcard: this.wildcard }
  }

  #addName(name: string, added: Set<string>): void {
    this.names.add(name)
    added.add(name)
  }

  #dropWildcard(removed: string[]): void {
    if (!this.wildcard) return
    this.wildcard = false
    removed.push('*')
    for (const name of this.versions.keys()) if (!this.names.has(name)) this.versions.delete(name)
  }

  #replaceNames(names: Set<string>, wildcard: boolean): void {
    this.names = names
    this.wildcard = wildcard
  }

  #forget(name: string): void {
    this.versions.delete(name)
    this.#pending.delete(name)
    this.#held?.delete(name)
  }

  #subscribed(added: readonly string[], removed: readonly string[], first: boolean, acked: boolean): Verdict {
    this.#answerNext = false
    this.#owesAnswer = true
    for (const name of added) this.#pending.add(name)
    return { kind: 'subscribe', change: { added, removed, first, wildcard: this.wildcard }, acked }
  }

  /** True when this response had not been acknowledged before. */
  #acknowledged(): boolean {
    const fresh = this.nonceAcked !== this.nonceSent
    this.nonceAcked = this.nonceSent
    this.versionAcked = this.versionSent
    this.lastError = null
    return fresh
  }

  #refused(nonce: string, reason: string, change: SubscriptionChange | null): Verdict {
    this.nonceNacked = nonce
    this.lastError = reason
    return { kind: 'nack', reason, change }
  }

  /** Reduces an update to what this client needs, and remembers it as sent. The caller then sends it and calls {@link sent}. */
  compose(update: ResourceUpdate): Composed | null {
    return this.delta ? this.#composeDelta(update) : this.#composeFullState(update)
  }

  /** A composed update went out under this nonce and version. */
  sent(nonce: string, version: string): void {
    this.nonceSent = nonce
    this.versionSent = version
    this.#owesAnswer = false
    this.#answerNext = false
  }

  #wants(name: string): boolean {
    return this.wildcard || this.names.has(name)
  }

  #needs(resource: EncodedResource, force: boolean): boolean {
    if (force || resource.version === '' || this.#pending.has(resource.name)) return true
    return this.versions.get(resource.name) !== resource.version
  }

  #composeDelta(update: ResourceUpdate): Composed | null {
    const resources: EncodedResource[] = []
    const removed = new Set<string>()
    const present = new Set<string>()
    for (const resource of update.resources) {
      if (!this.#wants(resource.name)) continue
      present.add(resource.name)
      if (!this.#needs(resource, update.force === true)) continue
      resources.push(resource)
      this.versions.set(resource.name, resource.version)
      this.#pending.delete(resource.name)
    }
    const gone = update.full ? [...this.versions.keys(), ...this.#pending] : update.removed
    for (const name of gone) {
      if (present.has(name) || !(this.versions.has(name) || this.#pending.has(name))) continue
      removed.add(name)
      this.#forget(name)
    }
    if (resources.length === 0 && removed.size === 0 && !this.#owesAnswer) return null
    return { resources, removed: [...removed] }
  }

  #composeFullState(update: ResourceUpdate): Composed | null {
    const wanted = update.resources.filter((resource) => this.#wants(resource.name))
    const held = this.#held
    if (held === null) return this.#composeNamed(wanted, update)
    let changed = this.#owesAnswer || update.force === true
    const next = update.full ? new Map<string, EncodedResource>() : held
    for (const resource of wanted) {
      changed ||= this.#needs(resource, false)
      next.set(resource.name, resource)
    }
    if (!update.full) for (const name of update.removed) changed = held.delete(name) || changed
    else {
      changed ||= next.size !== held.size
      held.clear()
      for (const [name, resource] of next) held.set(name, resource)
    }
    this.versions = new Map([...held.values()].map((resource) => [resource.name, resource.version]))
    this.#pending.clear()
    return changed ? { resources: [...held.values()], removed: [] } : null
  }

  #composeNamed(wanted: readonly EncodedResource[], update: ResourceUpdate): Composed | null {
    const resources = wanted.filter((resource) => this.#needs(resource, update.force === true))
    for (const resource of resources) {
      this.versions.set(resource.name, resource.version)
      this.#pending.delete(resource.name)
    }
    // State of the world cannot say "does not exist": the client's own timer ends that wait.
    for (const name of update.removed) this.#forget(name)
    if (update.full) this.#pending.clear()
    if (resources.length === 0 && !this.#owesAnswer) return null
    return { resources, removed: [] }
  }
}
