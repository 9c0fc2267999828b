import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Logger } from '../../base/logger.ts'
import type { AdsTransport } from '../../xds/index.ts'

/** Secrets given in-process (by the agent) instead of by an SDS gRPC stream. */
export interface SecretSource {
  /** The cluster of the bootstrap whose SDS it replaces; secrets from elsewhere are asked for there. */
  readonly cluster: string
  /** Calls back now (when known) and at every rotation; returns the function that ends it. Names: `default`, `ROOTCA`, … */
  watch(name: string, onSecret: (secret: SecretValue) => void): () => void
}

/** PEM texts, as in envoy.extensions.transport_sockets.tls.v3.Secret. */
export interface SecretValue {
  readonly certificateChain?: string
  readonly privateKey?: string
  readonly trustedCa?: string
}

export interface ProxyOptions {
  readonly bootstrap: Bootstrap
  /** Where the bootstrap came from, for messages. */
  readonly configPath: string
  /** Worker threads; 1 runs inline on the main thread. */
  readonly concurrency: number
  readonly drainTimeS: number
  readonly drainStrategy: 'gradual' | 'immediate'
  readonly fileFlushIntervalMs: number
  readonly fileFlushMinSizeKb: number
  readonly rejectUnknownDynamicFields: boolean
  readonly log: Logger
  /** Replaces the bootstrap's ADS cluster by a ready channel. */
  readonly adsTransport?: AdsTransport
  /** Replaces SDS over one cluster of the bootstrap. */
  readonly secrets?: SecretSource
  /** Called after /quitquitquit (0) and when a worker is lost (1): what becomes of the process is the caller's matter. */
  readonly onExit?: (exitCode: 0 | 1) => void
}

/** A running data plane. */
export interface Proxy {
  /** `ip:port` of the admin listener, or null. */
  readonly adminAddress: string | null
  readonly state: 'PRE_INITIALIZING' | 'INITIALIZING' | 'LIVE' | 'DRAINING'
  drainListeners(options: { graceful: boolean; inboundOnly: boolean; skipExit: boolean }): void
  /** From now on the process outlives its own faults, as its workers do (faults.ts). */
  outliveFaults(): void
  /** SIGUSR1: access logs are opened anew. */
  reopenLogs(): void
  /** Closes everything; resolves when the sockets are closed. */
  stop(): Promise<void>
}
