// envoy.tls.cert_validator.spiffe: which authorities are trusted for the identities of which trust domain.

import { fromBinary } from '@bufbuild/protobuf'
import type { TypedExtensionConfig } from '../../../api/gen/envoy/config/core/v3/extension_pb.js'
import { SPIFFECertValidatorConfigSchema } from '../../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.js'
import { ConfigError } from '../../../base/errors.ts'
import { dataSourceOrigin, readDataSource } from '../../config/data-source.ts'
import { checkRules } from '../../config/validate-rules.ts'
import type { TrustDomainConfig } from './tls-config.ts'

/** Throws ConfigError; other validators are refused by name. */
export function parseTrustDomains(validator: TypedExtensionConfig, path: string): TrustDomainConfig[] {
  const typeName = validator.typedConfig?.typeUrl.split('/').at(-1)
  if (typeName !== SPIFFECertValidatorConfigSchema.typeName) {
    throw new ConfigError(
      `${path}.typed_config`,
      `no certificate validator '${validator.name}' of type '${typeName ?? ''}'; this proxy has envoy.tls.cert_validator.spiffe`,
    )
  }
  const message = fromBinary(SPIFFECertValidatorConfigSchema, validator.typedConfig!.value)
  checkRules(SPIFFECertValidatorConfigSchema, message, `${path}.typed_config`)
  const seen = new Set<string>()
  return message.trustDomains.map(({ name, trustBundle }, i) => {
    const at = `${path}.typed_config.trust_domains[${i}]`
    if (seen.has(name))
      throw new ConfigError(`${at}.name`, `Multiple trust bundles are given for one trust domain for ${name}`)
    seen.add(name)
    if (trustBundle === undefined) throw new ConfigError(`${at}.trust_bundle`, 'is missing')
    return {
      name,
      bundle: readDataSource(trustBundle, `${at}.trust_bundle`).toString('latin1'),
      origin: dataSourceOrigin(trustBundle),
    }
  })
}

/** Of a SPIFFE identity; '' = it is none. */
export function trustDomainOf(uri: string): string {
  return /^spiffe:\/\/([^/]+)\//.exec(uri)?.[1] ?? ''
}
