// The secrets that one worker knows, by key (config/secret-key.ts); contexts are rebuilt when one changes.

import type { CertificateConfig, ValidationConfig } from './tls-config.ts'

/** A secret in a worker. Plain data: it crosses to the worker as it is. */
export interface Secret {
  readonly key: string
  readonly certificate: CertificateConfig | null
  readonly validation: ValidationConfig | null
  readonly ticketKeys: readonly Uint8Array[] | null
}

export class SecretStore {
  private readonly secrets = new Map<string, Secret>()
  private readonly watchers = new Map<string, Set<() => void>>()

  /** An update that reaches every worker is counted by one of them. */
  readonly countsUpdates: boolean

  constructor(countsUpdates = true) {
    this.countsUpdates = countsUpdates
  }

  get(key: string): Secret | undefined {
    return this.secrets.get(key)
  }

  /** Replaces a secret; whoever watches it is told. Throws what one of them makes of it, when all know. */
  set(secret: Secret): void {
    this.secrets.set(secret.key, secret)
    let failure: unknown = null
    for (const onChange of this.watchers.get(secret.key) ?? []) {
      try {
        onChange()
      } catch (error) {
        failure ??= error
      }
    }
    if (failure !== null) throw failure
  }

  /** No configuration names it any more. What drains keeps the contexts that it has: nobody is told. */
  delete(key: string): void {
    this.secrets.delete(key)
  }

  /** Returns the function that ends the watch. */
  watch(key: string, onChange: () => void): () => void {
    let set = this.watchers.get(key)
    if (set === undefined) {
      set = new Set()
      this.watchers.set(key, set)
    }
    const watchers = set
    watchers.add(onChange)
    return () => {
      watchers.delete(onChange)
      if (watchers.size === 0) this.watchers.delete(key)
    }
  }
}
