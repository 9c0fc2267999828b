// One question to an ADS server and its first answer, for tools that watch nothing.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Client, Metadata, ServiceError } from '@grpc/grpc-js'
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { GRPC_STATUS } from '../base/grpc-status.ts'

const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'

export interface Question {
  readonly node: Node
  readonly typeUrl: string
  readonly names: readonly string[]
  readonly timeoutMs: number
}

/** Asks and hangs up. Rejects with a gRPC ServiceError; its code is DEADLINE_EXCEEDED when no answer came in time. */
export function askOnce(client: Client, question: Question, metadata: Metadata): Promise<DiscoveryResponse> {
  const { node, typeUrl, names, timeoutMs } = question
  return new Promise((resolve, reject) => {
    const stream = client.makeBidiStreamRequest<DiscoveryRequest, DiscoveryResponse>(
      METHOD,
      (request) => Buffer.from(toBinary(DiscoveryRequestSchema, request)),
      (bytes) => fromBinary(DiscoveryResponseSchema, bytes),
      metadata,
      { deadline: Date.now() + timeoutMs },
    )
    stream.on('data', (response) => {
      resolve(response)
      stream.cancel()
    })
    stream.on('error', (error: ServiceError) => {
      // Our own hanging up is no failure.
      if (error.code !== GRPC_STATUS.CANCELLED) reject(error)
    })
    stream.on('end', () => reject(new Error('the server ended the stream without an answer')))
    stream.write(create(DiscoveryRequestSchema, { node, typeUrl, resourceNames: [...names] }))
  })
}
