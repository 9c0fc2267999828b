// A secret's message → what the workers use.

import {
  type Secret as SecretMessage,
  SecretSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { Secret } from '../network/tls/secret-store.ts'
import { checkCertificate, checkTrust } from '../network/tls/secure-context.ts'
import { parseCertificate, parseTicketKeys, parseValidation } from '../network/tls/tls-config.ts'
import { decodeResource, type IncomingResource } from './resource.ts'

/** `key`: the one under which the configuration names it (config/secret-key.ts). Throws ConfigError for a secret that is none. */
export function parseSecret(resource: IncomingResource, key: string): Secret {
  const message: SecretMessage = decodeResource(SecretSchema, resource)
  const { type } = message
  const secret: Secret = { key, certificate: null, validation: null, ticketKeys: null }
  switch (type.case) {
    case 'tlsCertificate':
      return {
        ...secret,
        certificate: checked(parseCertificate(type.value, 'tls_certificate'), checkCertificate, type.case),
      }
    case 'validationContext':
      return {
        ...secret,
        validation: checked(parseValidation(type.value, 'validation_context'), checkTrust, type.case),
      }
    case 'sessionTicketKeys':
      return { ...secret, ticketKeys: parseTicketKeys(type.value, 'session_ticket_keys') }
    case 'genericSecret':
      return secret
    default:
      throw new ConfigError(
        '',
        'a secret needs tls_certificate, validation_context, session_ticket_keys or generic_secret',
      )
  }
}

const CHECKED_FIELDS = {
  tlsCertificate: ['tls_certificate', 'Failed to load certificate chain or private key'],
  validationContext: ['validation_context', 'Failed to load trusted CA certificates or CRL'],
} as const

/** What OpenSSL does not take (a key that fits another certificate, …) must not reach a worker. Throws ConfigError. */
function checked<C>(config: C, check: (config: C) => void, field: keyof typeof CHECKED_FIELDS): C {
  try {
    check(config)
  } catch (error) {
    const [path, what] = CHECKED_FIELDS[field]
    throw new ConfigError(path, `${what}: ${errorText(error)}`, { cause: error })
  }
  return config
}
