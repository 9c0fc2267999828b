// istio.v1.auth.IstioCertificateService over gRPC: the server's side and the agent's side of CreateCertificate.
import { create, fromBinary, type JsonObject, toBinary } from '@bufbuild/protobuf'
import type { Client, Metadata, Server, ServerUnaryCall, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js'
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../api/gen/istio/ca_pb.js'
import { errorText } from '../base/errors.ts'
import { GRPC_STATUS, GrpcStatusError } from '../base/grpc-status.ts'
import type { Logger } from '../base/logger.ts'
import type { AuthenticatedCall } from './authenticate.ts'
import type { CertificateAuthority } from './ca.ts'

const CREATE_CERTIFICATE = '/istio.v1.auth.IstioCertificateService/CreateCertificate'

const METHOD = {
  path: CREATE_CERTIFICATE,
  requestStream: false,
  responseStream: false,
  requestSerialize: (request: IstioCertificateRequest) => Buffer.from(toBinary(IstioCertificateRequestSchema, request)),
  requestDeserialize: (bytes: Buffer) => fromBinary(IstioCertificateRequestSchema, bytes),
  responseSerialize: (response: IstioCertificateResponse) =>
    Buffer.from(toBinary(IstioCertificateResponseSchema, response)),
  responseDeserialize: (bytes: Buffer) => fromBinary(IstioCertificateResponseSchema, bytes),
} as const

export interface CertificateServiceOptions {
  readonly ca: CertificateAuthority
  /** Proves the caller; its answer becomes the certificate's names. */
  readonly authenticate: (call: AuthenticatedCall) => Promise<readonly string[]>
  readonly log: Logger
  /** Told what became of every request. */
  readonly observe?: (outcome: CertificateOutcome) => void
}

/** `unreadable`: the request itself is wrong; `failed`: it could not be signed. */
export type CertificateOutcome = 'signed' | 'unauthenticated' | 'unreadable' | 'failed'

/** Adds CreateCertificate to a gRPC server (istiod serves it on 15012 beside ADS). */
export function mountCertificateService(server: Server, options: CertificateServiceOptions): void {
  const definition: ServiceDefinition = { createCertificate: METHOD }
  server.addService(definition, {
    createCertificate: (
      call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
      callback: sendUnaryData<IstioCertificateResponse>,
    ) => {
      sign(call, options).then(
        (response) => callback(null, response),
        (error: unknown) => {
          const code = error instanceof GrpcStatusError ? error.code : GRPC_STATUS.INTERNAL
          options.log.warn({ peer: call.getPeer(), reason: errorText(error) }, 'certificate request refused')
          callback({ code, details: errorText(error) })
        },
      )
    },
  })
}

async function sign(
  call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
  options: CertificateServiceOptions,
): Promise<IstioCertificateResponse> {
  const identities = await options.authenticate(call).catch((error: unknown) => {
    options.observe?.('unauthenticated')
    throw error
  })
  const ttlMs = Number(call.request.validityDuration) * 1000
  const { csr } = call.request
  const certChain = await options.ca.signCsr(csr, identities, ttlMs > 0 ? ttlMs : undefined).catch((error: unknown) => {
    const unreadable = error instanceof GrpcStatusError && error.code === GRPC_STATUS.INVALID_ARGUMENT
    options.observe?.(unreadable ? 'unreadable' : 'failed')
    throw error
  })
  options.observe?.('signed')
  options.log.debug({ peer: call.getPeer(), identities }, 'certificate signed')
  return create(IstioCertificateResponseSchema, { certChain })
}

export interface CreateCertificateCall {
  readonly csrPem: string
  readonly ttlSeconds: number
  /** Becomes the request's metadata Struct. */
  readonly metadata?: JsonObject
}

/** Asks a CA for a certificate; rejects with grpc-js's ServiceError. Returns PEM blocks: leaf, intermediates, root. */
export function createCertificate(
  client: Client,
  call: CreateCertificateCall,
  metadata: Metadata,
  timeoutMs: number,
): Promise<string[]> {
  const request = create(IstioCertificateRequestSchema, {
    csr: call.csrPem,
    validityDuration: BigInt(call.ttlSeconds),
    metadata: call.metadata,
  })
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      METHOD.path,
      METHOD.requestSerialize,
      METHOD.responseDeserialize,
      request,
      metadata,
      { deadline: Date.now() + timeoutMs },
      (error, response) => (error ? reject(error) : resolve(response!.certChain)),
    )
  })
}
