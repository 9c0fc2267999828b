// The workload's own key and certificate: fetched from the CA, renewed well before they end.
import { EventEmitter } from 'node:events'
import { Backoff, type BackoffOptions } from '../base/backoff.ts'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { createCertificateRequest } from './csr.ts'
import { certificatePem, type KeyType, parseCertificates } from './x509.ts'

/** What SDS serves as `default` and `ROOTCA`. */
export interface WorkloadSecret {
  /** Leaf, then intermediates. */
  readonly certChainPem: string
  readonly keyPem: string
  readonly rootPem: string
  readonly notBefore: Date
  readonly notAfter: Date
}

/** Signs a CSR; returns PEM blocks leaf, intermediates, root. The agent's is {@link createCertificate} over gRPC. */
export type SignRequest = (csrPem: string, ttlSeconds: number) => Promise<string[]>

export interface SecretManagerOptions {
  readonly spiffeId: string
  readonly sign: SignRequest
  readonly keyType: KeyType
  /** Requested lifetime (SECRET_TTL), default 24 h. */
  readonly ttlSeconds?: number
  /** PEM of roots that peers may be verified by beside the mesh's. */
  readonly moreRoots?: readonly string[]
  /** Renewal when this share of the lifetime is left (SECRET_GRACE_PERIOD_RATIO), default 0.5. */
  readonly graceRatio?: number
  /** Random spread of that share (SECRET_GRACE_PERIOD_RATIO_JITTER), default 0.01, so that a fleet does not renew at once. */
  readonly graceJitter?: number
  readonly log: Logger
  /** Waits between failed attempts; default 0.5 s doubling to 10 s. */
  readonly backoff?: BackoffOptions
}

const DEFAULT_TTL_SECONDS = 86_400
/** setTimeout counts in signed 32 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** When to renew a certificate: its end minus a (jittered) share of its lifetime. Milliseconds since the epoch. */
export function renewalTime(
  secret: { notBefore: Date; notAfter: Date },
  ratio: number,
  jitter: number,
  random: number,
): number {
  const lifetime = secret.notAfter.getTime() - secret.notBefore.getTime()
  const share = Math.min(1, Math.max(0, ratio + (random * 2 - 1) * jitter))
  return secret.notAfter.getTime() - lifetime * share
}

/** Keeps one workload secret fresh. A failed renewal keeps the old secret and tries again. */
export class SecretManager {
  readonly #options: SecretManagerOptions
  readonly #events = new EventEmitter<{ secret: [WorkloadSecret] }>()
  readonly #backoff: Backoff
  #current: WorkloadSecret | null = null
  #timer: NodeJS.Timeout | null = null
  #closed = false

  constructor(options: SecretManagerOptions) {
    this.#options = options
    this.#backoff = new Backoff(options.backoff ?? { baseMs: 500, maxMs: 10_000 })
  }

  /** Requests to the CA so far, those that failed, and the milliseconds that all took. */
  readonly requests = { total: 0, failed: 0, latencyMs: 0 }

  /** The secret in force; null until the first one has come. */
  get current(): WorkloadSecret | null {
    return this.#current
  }

  /** Calls `listener` with the secret in force, if any, and with every later one. Returns the way to stop. */
  subscribe(listener: (secret: WorkloadSecret) => void): () => void {
    this.#events.on('secret', listener)
    if (this.#current !== null) listener(this.#current)
    return () => this.#events.off('secret', listener)
  }

  /** Starts fetching; does not wait for the first secret. */
  start(): void {
    void this.#fetch()
  }

  close(): void {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#events.removeAllListeners()
  }

  async #fetch(): Promise<void> {
    const { log, spiffeId } = this.#options
    const startMs = performance.now()
    this.requests.total++
    try {
      const secret = await this.#request().finally(() => {
        this.requests.latencyMs += performance.now() - startMs
      })
      if (this.#closed) return
      this.#current = secret
      log.info({ spiffeId, notAfter: secret.notAfter }, 'workload certificate in force')
    } catch (error) {
      this.requests.failed++
      if (this.#closed) return
      const waitMs = this.#backoff.next()
      log.warn({ spiffeId, reason: errorText(error), retryInMs: waitMs }, 'workload certificate request failed')
      this.#schedule(waitMs)
      return
    }
    this.#scheduleRenewal(this.#current)
    this.#tell(this.#current)
  }

  /** A fault of somebody who listens is no failed request: the secret holds, and is renewed in its time. */
  #tell(secret: WorkloadSecret): void {
    const { log, spiffeId } = this.#options
    for (const listener of this.#events.listeners('secret')) {
      try {
        listener(secret)
      } catch (error) {
        log.error({ spiffeId, err: error }, 'workload certificate could not be handed on')
      }
    }
  }

  #scheduleRenewal(secret: WorkloadSecret): void {
    const { graceRatio = 0.5, graceJitter = 0.01, log, spiffeId } = this.#options
    const dueMs = renewalTime(secret, graceRatio, graceJitter, Math.random()) - Date.now()
    if (dueMs > 0) {
      this.#backoff.reset()
      this.#schedule(dueMs)
      return
    }
    // Clocks that differ, or a certificate that was old when it came: asked again at once, the CA would have no rest.
    const waitMs = this.#backoff.next()
    log.warn(
      { spiffeId, notAfter: secret.notAfter, retryInMs: waitMs },
      'workload certificate is due for renewal already',
    )
    this.#schedule(waitMs)
  }

  #schedule(afterMs: number): void {
    this.#timer = setTimeout(() => void this.#fetch(), Math.min(Math.max(afterMs, 0), MAX_TIMER_MS))
    this.#timer.unref()
  }

  async #request(): Promise<WorkloadSecret> {
    const { spiffeId, keyType, sign, ttlSeconds = DEFAULT_TTL_SECONDS, moreRoots = [] } = this.#options
    const { csrPem, keyPem } = await createCertificateRequest(spiffeId, keyType)
    const chain = await sign(csrPem, ttlSeconds)
    const certificates = chain.flatMap((pem) => parseCertificates(pem, 'CreateCertificate response'))
    if (certificates.length < 2) throw new Error('the CA answered without a certificate and a root')
    const leaf = certificates[0]!
    return {
      certChainPem: certificates.slice(0, -1).map(certificatePem).join(''),
      keyPem,
      rootPem: [chain.at(-1)!, ...moreRoots].map((pem) => `${pem.trimEnd()}\n`).join(''),
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
    }
  }
}
