// envoy.filters.network.ext_authz: asks an authorization service whether a connection may go on, once its first bytes
// are here (envoy-contract §9.2).

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  type ExtAuthz,
  ExtAuthzSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/ext_authz/v3/ext_authz_pb.js'
import { AttributeContextSchema } from '../../../../api/gen/envoy/service/auth/v3/attribute_context_pb.js'
import { CheckRequestSchema, CheckResponseSchema } from '../../../../api/gen/envoy/service/auth/v3/external_auth_pb.js'
import { durationMsOr } from '../../../config/duration.ts'
import type { NetworkFilterExtension, ParseContext, WorkerContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { CloseType, ConnectionEvent } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import type { Counter, Gauge } from '../../../observe/stats.ts'
import {
  compileMetadataMatcher,
  type MetadataMatch,
  type MetadataMatcherData,
  parseMetadataMatcher,
} from '../../../route/metadata-matcher.ts'
import { StreamInfo } from '../../../stream-info.ts'
import type { Cancellable } from '../../../upstream/cluster-manager.ts'
import { callUnary } from '../../../upstream/grpc-client.ts'
import { type GrpcTarget, parseGrpcTarget } from '../../../upstream/grpc-target.ts'
import { destinationPeer, sourcePeer } from '../../common/authorization-peers.ts'
import { TCP_STREAM_INFO } from '../tcp-proxy/filter.ts'

interface ExtAuthzConfig {
  readonly statPrefix: string
  readonly service: GrpcTarget
  readonly failureModeAllow: boolean
  readonly includePeerCertificate: boolean
  readonly includeTlsSession: boolean
  /** Asked only where it matches; null: always. */
  readonly enabledMetadata: MetadataMatcherData | null
}

const SUPPORTED: ReadonlySet<string> = new Set([
  'stat_prefix',
  'grpc_service',
  'failure_mode_allow',
  'include_peer_certificate',
  'transport_api_version',
  'filter_enabled_metadata',
  'include_tls_session',
])
const CHECK = '/envoy.service.auth.v3.Authorization/Check'
const METADATA_NAMESPACE = 'envoy.filters.network.ext_authz'
const DEFAULT_TIMEOUT_MS = 200

function parse(message: ExtAuthz, context: ParseContext): ExtAuthzConfig {
  refuseUnsupported(ExtAuthzSchema, message, SUPPORTED, context.path)
  const timeoutMs = durationMsOr(message.grpcService?.timeout, DEFAULT_TIMEOUT_MS)
  return {
    statPrefix: message.statPrefix,
    service: parseGrpcTarget(message.grpcService, timeoutMs, context.at('grpc_service')),
    failureModeAllow: message.failureModeAllow,
    includePeerCertificate: message.includePeerCertificate,
    includeTlsSession: message.includeTlsSession,
    enabledMetadata: message.filterEnabledMetadata
      ? parseMetadataMatcher(message.filterEnabledMetadata, context.at('filter_enabled_metadata').path)
      : null,
  }
}

class Shared {
  readonly config: ExtAuthzConfig
  readonly context: WorkerContext
  readonly enabled: MetadataMatch | null
  readonly total: Counter
  readonly ok: Counter
  readonly denied: Counter
  readonly error: Counter
  readonly disabled: Counter
  readonly failureModeAllowed: Counter
  readonly closed: Counter
  readonly active: Gauge

  constructor(config: ExtAuthzConfig, context: WorkerContext) {
    this.config = config
    this.context = context
    this.enabled = config.enabledMetadata && compileMetadataMatcher(config.enabledMetadata)
    const scope = context.stats.scope(`ext_authz.${config.statPrefix}`)
    this.total = scope.counter('total')
    this.ok = scope.counter('ok')
    this.denied = scope.counter('denied')
    this.error = scope.counter('error')
    this.disabled = scope.counter('disabled')
    this.failureModeAllowed = scope.counter('failure_mode_allowed')
    this.closed = scope.counter('cx_closed')
    this.active = scope.gauge('active')
  }
}

const State = { NotAsked: 0, Asking: 1, Allowed: 2, Closed: 3 } as const
type State = (typeof State)[keyof typeof State]

class NetworkExtAuthz implements NetworkFilter {
  private readonly shared: Shared
  private readonly callbacks: ReadFilterCallbacks
  private state: State = State.NotAsked
  private call: Cancellable | null = null
  /** What came before there is an answer. */
  private held: Buffer | null = null
  private heldEnd = false
  /** True while reading is held up. */
  private paused = false

  constructor(shared: Shared, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    return FilterStatus.Continue
  }

  onData(chunk: Buffer, endStream: boolean): FilterStatus {
    const { enabled, disabled } = this.shared
    if (enabled !== null && !enabled(this.callbacks.dynamicMetadata)) {
      disabled.inc()
      return FilterStatus.Continue
    }
    if (this.state === State.NotAsked) this.ask()
    if (this.state === State.Allowed) return FilterStatus.Continue
    if (this.state === State.Asking) {
      // The chunk is borrowed. Nothing more is read meanwhile: whoever is not let in fills no memory.
      this.held = this.held === null ? Buffer.from(chunk) : Buffer.concat([this.held, chunk])
      this.heldEnd ||= endStream
      if (!this.paused) {
        this.paused = true
        this.callbacks.connection.readDisable(true)
      }
    }
    return FilterStatus.StopIteration
  }

  private ask(): void {
    const { config, context, total, active } = this.shared
    total.inc()
    active.inc()
    this.state = State.Asking
    const { connection, filterState } = this.callbacks
    const parent = { info: new StreamInfo(connection.info, filterState), headers: null }
    const cluster = context.clusters.get(config.service.cluster)
    const call = callUnary(cluster, config.service, parent, CHECK, this.question(), {
      onMessage: (message) => this.onAnswer(message),
      onFailure: () => this.onError(),
    })
    if (this.state === State.Asking) this.call = call
  }

  private question(): Uint8Array {
    const { config } = this.shared
    const { info } = this.callbacks.connection
    const ssl = info.ssl()
    const { remoteAddress, localAddress } = info
    return toBinary(
      CheckRequestSchema,
      create(CheckRequestSchema, {
        attributes: create(AttributeContextSchema, {
          source: sourcePeer({ remoteAddress, ssl }, '', config.includePeerCertificate),
          destination: destinationPeer({ localAddress, ssl }, info.requestedServerName),
          metadataContext: {},
          ...(config.includeTlsSession && ssl?.sni ? { tlsSession: { sni: ssl.sni } } : {}),
        }),
      }),
    )
  }

  private onAnswer(message: Buffer): void {
    let allowed: boolean
    try {
      const response = fromBinary(CheckResponseSchema, message)
      allowed = (response.status?.code ?? 0) === 0
      if (response.dynamicMetadata)
        Object.assign((this.callbacks.dynamicMetadata[METADATA_NAMESPACE] ??= {}), response.dynamicMetadata)
    } catch {
      // An answer that does not decode is none.
      this.onError()
      return
    }
    this.shared.active.dec()
    if (allowed) {
      this.shared.ok.inc()
      this.goOn()
    } else {
      this.shared.denied.inc()
      this.refuse('ext_authz_denied')
    }
  }

  private onError(): void {
    this.shared.active.dec()
    this.shared.error.inc()
    if (!this.shared.config.failureModeAllow) {
      this.refuse('ext_authz_error')
      return
    }
    this.shared.failureModeAllowed.inc()
    this.goOn()
  }

  private goOn(): void {
    this.call = null
    this.state = State.Allowed
    const { held } = this
    if (held === null) return
    this.held = null
    this.callbacks.injectReadData(held, this.heldEnd)
    this.paused = false
    this.callbacks.connection.readDisable(false)
  }

  private refuse(details: string): void {
    const { connection, filterState } = this.callbacks
    this.call = null
    this.state = State.Closed
    this.shared.closed.inc()
    const info = filterState.get(TCP_STREAM_INFO) as StreamInfo | undefined
    if (info) {
      info.setFlag('UAEX')
      info.responseCodeDetails = details
      info.bytesReceived = connection.bytesReceived
    }
    connection.close(CloseType.NoFlush)
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || this.state !== State.Asking) return
    this.state = State.Closed
    this.call?.cancel()
    this.call = null
    this.shared.active.dec()
  }
}

export const networkExtAuthz: NetworkFilterExtension<ExtAuthzConfig> = {
  name: 'envoy.filters.network.ext_authz',
  desc: ExtAuthzSchema,
  parse: (message, context) => parse(message as ExtAuthz, context),
  create(config, context) {
    const shared = new Shared(config, context)
    return (callbacks) => new NetworkExtAuthz(shared, callbacks)
  },
}
