// One unary gRPC call of the proxy's own through a cluster (gRPC over HTTP/2).

import { HeaderMap } from '../http/header-map.ts'
import type { HeaderMutationsData } from '../route/config.ts'
import { HeaderMutations } from '../route/header-mutation.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { Cancellable, ThreadLocalCluster } from './cluster-manager.ts'
import { GRPC_PREFIX_BYTES, grpcFrame } from './grpc-frame.ts'
import type { GrpcTarget } from './grpc-target.ts'
import { sendRequest } from './http-client.ts'

export interface GrpcCallbacks {
  onMessage(message: Buffer): void
  /** `timeout`, why the call could not be made, or `grpc-status <n>`. */
  onFailure(reason: string): void
  /** As HttpClientCallbacks. */
  onFault?(error: unknown): void
}

/** What a call is made for: formats in its metadata read this. */
export interface CallParent {
  readonly info: StreamInfo
  /** null: of a connection. */
  readonly headers: HeaderMap | null
}

const compiled = new WeakMap<HeaderMutationsData, HeaderMutations>()

/** initial_metadata of the service; without a parent formats are sent as they are written (Envoy). */
export function addMetadata(headers: HeaderMap, { metadata }: GrpcTarget, parent: CallParent | null): void {
  if (metadata === null) return
  if (parent === null) {
    for (const { name, value } of metadata.add) headers.set(name, value)
    return
  }
  let mutations = compiled.get(metadata)
  if (!mutations) compiled.set(metadata, (mutations = new HeaderMutations(metadata)))
  mutations.apply(headers, parent.info, parent.headers, null)
}

/** Calls back once, later or within this call. */
export function callUnary(
  cluster: ThreadLocalCluster | undefined,
  target: GrpcTarget,
  parent: CallParent,
  path: string,
  message: Uint8Array,
  callbacks: GrpcCallbacks,
): Cancellable {
  const headers = new HeaderMap()
  headers.method = 'POST'
  headers.path = path
  headers.authority = target.authority
  headers.scheme = 'http'
  headers.add('te', 'trailers')
  if (target.timeoutMs > 0) headers.add('grpc-timeout', `${Math.ceil(target.timeoutMs)}m`)
  headers.add('content-type', 'application/grpc')
  addMetadata(headers, target, parent)
  return sendRequest(cluster, headers, grpcFrame(message), target.timeoutMs, {
    onResponse: (response, body, trailers) => {
      const status = trailers?.get('grpc-status') ?? response.get('grpc-status')
      if (response.status !== 200) callbacks.onFailure(`HTTP status ${response.status}`)
      else if (status !== '0') callbacks.onFailure(`grpc-status ${status ?? 'missing'}`)
      else if (body.length < GRPC_PREFIX_BYTES || body.length < GRPC_PREFIX_BYTES + body.readUInt32BE(1))
        callbacks.onFailure('no message')
      else callbacks.onMessage(body.subarray(GRPC_PREFIX_BYTES, GRPC_PREFIX_BYTES + body.readUInt32BE(1)))
    },
    onFailure: (reason) => callbacks.onFailure(reason),
    ...(callbacks.onFault && { onFault: (error) => callbacks.onFault!(error) }),
  })
}
