// Who is calling: a client certificate of the mesh, or a service-account token (istio-contract 10, "Auth").
import type { PeerCertificate } from 'node:tls'
import type { Metadata } from '@grpc/grpc-js'
import type { AuthContext } from '@grpc/grpc-js/build/src/auth-context.js'
import { alternativeNames } from '../base/alternative-names.ts'
import { errorText } from '../base/errors.ts'
import { GRPC_STATUS, GrpcStatusError } from '../base/grpc-status.ts'
import { ISTIO_CA_AUDIENCE, type TokenVerifier } from './service-account-token.ts'
import { formatSpiffeId } from './spiffe.ts'

/** The part of a gRPC server call that authentication reads. */
export interface AuthenticatedCall {
  readonly metadata: Metadata
  getAuthContext(): AuthContext
}

export interface AuthenticatorOptions {
  /** Read anew for every call: the mesh's may change. */
  readonly trustDomain: string
  readonly tokens: TokenVerifier
  /** Default `istio-ca`. */
  readonly audience?: string
}

/**
 * Returns the caller's SPIFFE ids: from its client certificate when TLS verified one, else from its bearer token.
 * Throws GrpcStatusError(UNAUTHENTICATED) when it has neither or the token does not hold.
 */
export function createAuthenticator(
  options: AuthenticatorOptions,
): (call: AuthenticatedCall) => Promise<readonly string[]> {
  const verify = bearerAuthenticator(options)
  return async (call) => {
    const certificate = call.getAuthContext().sslPeerCertificate
    const identities = certificate === undefined ? [] : spiffeIdsOf(certificate)
    if (identities.length > 0) return identities
    return verify(...call.metadata.get('authorization').map(String))
  }
}

/**
 * Returns the SPIFFE id of who holds one of these `authorization` values (`Bearer …`). Throws
 * GrpcStatusError(UNAUTHENTICATED) when there is no token or it does not hold.
 */
export function bearerAuthenticator(
  options: AuthenticatorOptions,
): (...authorization: string[]) => Promise<readonly string[]> {
  const { tokens, audience = ISTIO_CA_AUDIENCE } = options
  return async (...authorization) => {
    const token = authorization.map((value) => /^Bearer (\S+)$/i.exec(value)?.[1]).find((one) => one !== undefined)
    if (token === undefined)
      throw new GrpcStatusError(
        GRPC_STATUS.UNAUTHENTICATED,
        'neither a client certificate with a SPIFFE id nor a bearer token',
      )
    try {
      const { trustDomain } = options
      return [formatSpiffeId({ trustDomain, ...(await tokens.verify(token, audience)) })]
    } catch (error) {
      throw new GrpcStatusError(GRPC_STATUS.UNAUTHENTICATED, `bearer token refused: ${errorText(error)}`, {
        cause: error,
      })
    }
  }
}

function spiffeIdsOf(certificate: PeerCertificate): string[] {
  return alternativeNames(certificate.subjectaltname).uri.filter((name) => name.startsWith('spiffe://'))
}
