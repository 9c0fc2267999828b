import { VERSION } from '../../base/version.ts'

/** Of the package, e.g. `0.1.0`. */
export const PROXY_VERSION = VERSION

/** In the shape of Envoy's `/server_info`: revision / version / Clean / RELEASE / TLS library. */
export const BUILD_VERSION = `outrigger/${PROXY_VERSION}/Clean/RELEASE/OpenSSL-${process.versions.openssl}`
