// The seam between the ADS server and whoever generates resources.
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.js'

/**
 * One resource, encoded once and shared by every connection that receives it.
 * `version` names the content: two resources of equal name and equal non-empty version are the same bytes, and a
 * connection that has that version is not sent it again. An empty version means "unknown": always sent.
 */
export interface EncodedResource {
  readonly name: string
  readonly version: string
  /** The binary form of the message itself, without the Any around it. */
  readonly body: Uint8Array
}

/** What one connection watches of one type, and how far it has followed. Times are milliseconds since the epoch, 0 = never. */
export interface WatchedResource {
  readonly typeUrl: string
  readonly wildcard: boolean
  /** Names asked for explicitly (may be non-empty beside `wildcard` on delta streams). */
  readonly names: ReadonlySet<string>
  readonly nonceSent: string
  readonly nonceAcked: string
  readonly nonceNacked: string
  readonly versionSent: string
  readonly versionAcked: string
  /** Name to version of what was sent (on a delta stream also of what the client said it had). */
  readonly versions: ReadonlyMap<string, string>
  /** Reason of the last NACK; null once a later response was acknowledged. */
  readonly lastError: string | null
  readonly lastSentMs: number
  readonly lastAckedMs: number
  readonly lastNackedMs: number
}

/** What a request changed in a watch. */
export interface SubscriptionChange {
  /** Names that await an answer: new ones, and on delta streams also known ones that were asked for again. */
  readonly added: readonly string[]
  readonly removed: readonly string[]
  /** First request of the type on this stream (also after a reconnect): answer it even when there is nothing to send. */
  readonly first: boolean
  /** The watch wants every resource of the type. */
  readonly wildcard: boolean
}

/** One set of changes of one type, for one connection. */
export interface ResourceUpdate {
  readonly resources: readonly EncodedResource[]
  /** Names that do not exist (any more). Unknown names are harmless. */
  readonly removed: readonly string[]
  /** version_info / system_version_info of the response. */
  readonly version: string
  /** `resources` is everything that exists of what the connection watches: whatever it has or waits for beside it is gone. */
  readonly full: boolean
  /**
   * Send also what the connection already has. Needed for EDS after CDS on delta streams: Envoy warms a changed
   * cluster until its assignment comes again, and does not ask for it.
   */
  readonly force?: boolean
}

/** An answer to one request of a type that is not watched. */
export interface OneTimeAnswer {
  /** Each with the type of its own body, which need not be the type asked for. */
  readonly resources: readonly { readonly name: string; readonly typeUrl: string; readonly body: Uint8Array }[]
  readonly version: string
  /** ControlPlane.identifier of this answer; left out: that of every response. */
  readonly controlPlane?: string
}

/** One ADS stream. Lives from its first request to `onDisconnect`. */
export interface XdsConnection {
  /** Unique in this process: `<node id>-<counter>`. */
  readonly id: string
  /** The node of the stream's first request. */
  readonly node: Node
  readonly peer: {
    /** `address:port`, or the socket path of a Unix peer. */
    readonly address: string
    /** What {@link Authenticate} proved: SPIFFE ids, token subjects. Empty when nothing was asked. */
    readonly identities: readonly string[]
  }
  /** Delta (incremental) protocol; otherwise state of the world. */
  readonly delta: boolean
  readonly connectedMs: number
  /** The type URLs with a live subscription, in push order. */
  watchedTypes(): readonly string[]
  watched(typeUrl: string): WatchedResource | undefined
  /**
   * Sends what of `update` the connection needs: unwatched names are left out, as are versions it has (unless
   * `force`); on a state-of-the-world stream a partial update of a wildcard type is completed from what was sent before.
   * The bytes of the message; 0 when nothing was sent: no subscription, nothing new, or the stream has ended.
   */
  push(typeUrl: string, update: ResourceUpdate): number
  /** A response of this type (of any type when left out) is neither acknowledged nor refused yet: merge further updates until it is. */
  busy(typeUrl?: string): boolean
  /** Ends the stream with a gRPC status. `onDisconnect` follows. */
  close(code: number, details: string): void
}

/**
 * Generates resources. Calls for one connection never overlap. A handler that throws ends that stream only:
 * with its status for a GrpcStatusError, else with INTERNAL and an error in the log.
 */
export interface XdsHandler {
  /** First request of a stream; throw GrpcStatusError to refuse (UNAVAILABLE: not ready, RESOURCE_EXHAUSTED: too many). */
  onConnect(conn: XdsConnection): void
  /** Must lead to `conn.push(typeUrl, …)`, now or later, holding every name of `change.added` as resource or as removed. */
  onSubscribe(conn: XdsConnection, typeUrl: string, change: SubscriptionChange): void
  onAck(conn: XdsConnection, typeUrl: string, nonce: string): void
  onNack(conn: XdsConnection, typeUrl: string, nonce: string, reason: string): void
  /** A request answered a response that is no longer the last one (counted as expired nonce); nothing to do. */
  onStale?(conn: XdsConnection, typeUrl: string, nonce: string): void
  /** The last request named nothing any more: the type is not watched now. */
  onUnsubscribe?(conn: XdsConnection, typeUrl: string): void
  /**
   * Every request of a type that is known; true: the type is a report of the client's (with its error, null for none), not
   * a subscription, and gets no answer.
   */
  onReport?(conn: XdsConnection, typeUrl: string, error: string | null): boolean
  /** What a request of a type that is not watched is answered, once; null: the type is watched. May throw GrpcStatusError. */
  answerOnce?(conn: XdsConnection, typeUrl: string, names: readonly string[]): OneTimeAnswer | null
  /** Follows every `onConnect` that did not throw, once. */
  onDisconnect(conn: XdsConnection): void
}
