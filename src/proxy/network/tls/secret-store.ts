// The secrets that one worker knows, by name; contexts are rebuilt when one changes.

import type { CertificateConfig, ValidationConfig } from './tls-config.ts'

/** A secret in a worker. Plain data: it crosses to the worker as it is. */
export interface Secret {
  readonly name: string
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

  get(name: string): Secret | undefined {
    return this.secrets.get(name)
  }

  /** Replaces a secret; whoever watches it is told. Throws what one of them makes of it, when all know. */
  set(secret: Secret): void {
    this.secrets.set(secret.name, secret)
    this.tell(secret.name)
  }

  delete(name: string): void {
    if (this.secrets.delete(name)) this.tell(name)
  }

  private tell(name: string): void {
    let failure: unknown = null
    for (const onChange of this.watchers.get(name) ?? []) {
      try {
        onChange()
      } catch (error) {
        failure ??= error
      }
    }
    if (failure !== null) throw failure
  }

  /** Returns the function that ends the watch. */
  watch(name: string, onChange: () => void): () => void {
    let set = this.watchers.get(name)
    if (set === undefined) {
      set = new Set()
      this.watchers.set(name, set)
    }
    const watchers = set
    watchers.add(onChange)
    return () => {
      watchers.delete(onChange)
      if (watchers.size === 0) this.watchers.delete(name)
    }
  }
}
