// What the tests of the HTTP/1 codec configure it with: Envoy's defaults.

import type { Http1Options } from '../connection-manager/config.ts'

export const OPTIONS: Http1Options = {
  allowAbsoluteUrl: true,
  acceptHttp10: false,
  defaultHostForHttp10: '',
  enableTrailers: false,
  allowChunkedLength: false,
  headerKeyFormat: 'lower',
  sendFullyQualifiedUrl: false,
  allowCustomMethods: false,
  streamErrorOnInvalidMessage: null,
}

export const LIMITS = { maxBytes: 60 * 1024, maxHeaders: 100, underscores: 'ALLOW', keepSpellings: false } as const
