// The TLS port of a control plane on its own: an authority kept in a folder, tokens that somebody else signs.
import { readFileSync } from 'node:fs'
import { ConfigError, errorText, UserError } from '../base/errors.ts'
import type { SecureGrpcOptions } from '../pilot/index.ts'
import type { TokenVerifier } from '../security/index.ts'

/** Flags of `outrigger pilot`. */
export interface SecureGrpcFlags {
  readonly secureGrpcAddr?: string
  readonly caDir?: string
  readonly tokenKeyFile?: string
  readonly tokenIssuer?: string
  readonly serverName?: readonly string[]
}

/** Undefined without `--secure-grpc-addr`. Throws UserError for flags that do not fit together and files without use. */
export async function secureGrpcSettings(flags: SecureGrpcFlags): Promise<SecureGrpcOptions | undefined> {
  const { secureGrpcAddr, caDir, tokenKeyFile, tokenIssuer, serverName = [] } = flags
  if (secureGrpcAddr === undefined) {
    if (tokenKeyFile || tokenIssuer || serverName.length > 0) {
      throw new UserError('--token-key-file, --token-issuer and --server-name are for --secure-grpc-addr', 64)
    }
    return undefined
  }
  if (!caDir) throw new UserError('--secure-grpc-addr needs --ca-dir: somebody has to issue its certificate', 64)
  const { defaultMeshConfig } = await import('../config/index.ts')
  const { ISTIOD_NAMES } = await import('../pilot/index.ts')
  const { CertificateAuthority } = await import('../security/index.ts')
  try {
    return {
      address: secureGrpcAddr,
      ca: await CertificateAuthority.loadOrCreate(caDir, { trustDomain: defaultMeshConfig().trustDomain }),
      tokens: tokenKeyFile ? await tokenKeys(tokenKeyFile, tokenIssuer) : NO_TOKENS,
      serverNames: [...ISTIOD_NAMES, ...serverName],
    }
  } catch (error) {
    if (error instanceof ConfigError) throw new UserError(errorText(error), 65, { cause: error })
    throw error
  }
}

/** Without keys only certificates of the authority prove who somebody is. */
const NO_TOKENS: TokenVerifier = {
  verify: () => Promise.reject(new Error('the control plane was given no keys to verify tokens by (--token-key-file)')),
}

async function tokenKeys(file: string, issuer: string | undefined): Promise<TokenVerifier> {
  const { TokenKeys } = await import('../security/index.ts')
  let pem: string
  try {
    pem = readFileSync(file, 'utf8')
  } catch (error) {
    throw new UserError(`${file}: ${errorText(error)}`, 65, { cause: error })
  }
  return new TokenKeys(pem, issuer)
}
