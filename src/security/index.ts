export {
  type AuthenticatedCall,
  type AuthenticatorOptions,
  bearerAuthenticator,
  createAuthenticator,
} from './authenticate.ts'
export { CertificateAuthority, DEFAULT_CERT_TTL_MS, MAX_CERT_TTL_MS, type ServerCertificate } from './ca.ts'
export { type CertificateOutcome, createCertificate, mountCertificateService } from './ca-service.ts'
export { SecretManager, type SignRequest, type WorkloadSecret } from './secret-manager.ts'
export { createServerCredentials, type RenewableServerCredentials } from './server-credentials.ts'
export {
  DEFAULT_ISSUER,
  ISTIO_CA_AUDIENCE,
  type ServiceAccount,
  ServiceAccountTokens,
  type TokenRequest,
  type TokenVerifier,
} from './service-account-token.ts'
export { formatSpiffeId, parseSpiffeId, type SpiffeIdentity } from './spiffe.ts'
export { TokenKeys } from './token-keys.ts'
export type { KeyType } from './x509.ts'
