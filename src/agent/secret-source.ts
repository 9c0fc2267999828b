// All secrets that a proxy may ask its agent for, whether it runs in this process or asks over a socket.

import type { Logger } from '../base/logger.ts'
import type { SecretSource } from '../proxy/index.ts'
import type { SecretManager } from '../security/secret-manager.ts'
import { watchSecretFiles } from './file-secrets.ts'

/** The workload's key and certificate. */
export const DEFAULT_SECRET = 'default'
/** What peers are verified by. */
const ROOT_SECRET = 'ROOTCA'
/** The cluster of the bootstrap under which proxies know their agent. */
export const SDS_CLUSTER = 'sds-grpc'

/** `default`, `ROOTCA` and the secrets in files of the pod. */
export function createSecretSource(secrets: SecretManager, log: Logger): SecretSource {
  return {
    cluster: SDS_CLUSTER,
    watch: (name, onSecret) => {
      switch (name) {
        case DEFAULT_SECRET:
          return secrets.subscribe((secret) =>
            onSecret({ certificateChain: secret.certChainPem, privateKey: secret.keyPem }),
          )
        case ROOT_SECRET:
          return secrets.subscribe((secret) => onSecret({ trustedCa: secret.rootPem }))
      }
      const end = watchSecretFiles(name, onSecret, log)
      if (end !== null) return end
      log.warn({ secret: name }, 'a proxy asks its agent for a secret that no agent has')
      return () => {}
    },
  }
}
