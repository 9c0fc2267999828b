// What is counted of each xDS subscription, whatever delivers it (Envoy: docs/root/configuration/overview/mgmt_server).

import { xxh64 } from '../../base/hash.ts'
import type { Counter, Gauge, Histogram, Scope, TextReadout } from '../observe/stats.ts'

/** One subscription: a type (CDS, LDS) or one resource of a type. */
export class SubscriptionStats {
  private readonly attempts: Counter
  private readonly successes: Counter
  private readonly failures: Counter
  private readonly rejections: Counter
  private readonly fetchTimeouts: Counter
  private readonly time: Gauge
  private readonly version: Gauge
  private readonly versionText: TextReadout
  private readonly duration: Histogram

  constructor(scope: Scope) {
    this.attempts = scope.counter('update_attempt')
    this.successes = scope.counter('update_success')
    this.failures = scope.counter('update_failure')
    this.rejections = scope.counter('update_rejected')
    this.fetchTimeouts = scope.counter('init_fetch_timeout')
    this.time = scope.gauge('update_time')
    this.version = scope.gauge('version')
    this.versionText = scope.textReadout('version_text')
    this.duration = scope.histogram('update_duration', 'ms')
  }

  attempt(): void {
    this.attempts.inc()
  }

  /** `startedMs`: performance.now() of when the response came. */
  success(version: string, startedMs: number): void {
    this.successes.inc()
    this.time.set(Date.now())
    this.version.set(Number(xxh64(version)))
    this.versionText.value = version
    this.duration.record(performance.now() - startedMs)
  }

  /** What came was refused. */
  rejected(): void {
    this.rejections.inc()
  }

  /** Nothing came: the stream ended, or the file cannot be read. */
  failure(): void {
    this.failures.inc()
  }

  fetchTimeout(): void {
    this.fetchTimeouts.inc()
  }
}

interface Named {
  readonly stats: SubscriptionStats
  readonly scope: Scope
  /** null = a stream delivers it: there each answer is followed by the next attempt. */
  readonly file: string | null
}

/** The subscriptions of one type to single resources, by a key of the caller's. */
export class NamedSubscriptions {
  private readonly byKey = new Map<string, Named>()

  /** Begins once for each key. `file`: what delivers it; null = a stream. */
  begin(key: string, scope: () => Scope, file: string | null): void {
    if (this.byKey.has(key)) return
    const made = scope()
    const named: Named = { stats: new SubscriptionStats(made), scope: made, file }
    this.byKey.set(key, named)
    named.stats.attempt()
  }

  end(key: string): void {
    this.byKey.get(key)?.scope.release()
    this.byKey.delete(key)
  }

  /** Its scope, for what else is counted of it. */
  scope(key: string): Scope | undefined {
    return this.byKey.get(key)?.scope
  }

  /** A file that has changed is read again: of each subscription to it another attempt. */
  attempt(file: string): void {
    for (const named of this.byKey.values()) if (named.file === file) named.stats.attempt()
  }

  success(key: string, version: string, startedMs: number): void {
    const named = this.byKey.get(key)
    named?.stats.success(version, startedMs)
    if (named?.file === null) named.stats.attempt()
  }

  rejected(key: string): void {
    const named = this.byKey.get(key)
    named?.stats.rejected()
    if (named?.file === null) named.stats.attempt()
  }

  fetchTimeout(key: string): void {
    const named = this.byKey.get(key)
    named?.stats.fetchTimeout()
    if (named?.file === null) named.stats.attempt()
  }

  /** Of all that this file (null = the stream) delivers. */
  failure(file: string | null): void {
    for (const named of this.byKey.values()) {
      if (named.file !== file) continue
      named.stats.failure()
      if (file === null) named.stats.attempt()
    }
  }
}
