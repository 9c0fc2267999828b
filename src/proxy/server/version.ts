import { createRequire } from 'node:module'

/** Of the package, e.g. `0.1.0`. */
export const PROXY_VERSION = (createRequire(import.meta.url)('../../../package.json') as { version: string }).version

/** In the shape of Envoy's `/server_info`: revision / version / Clean / RELEASE / TLS library. */
export const BUILD_VERSION = `outrigger/${PROXY_VERSION}/Clean/RELEASE/OpenSSL-${process.versions.openssl}`
