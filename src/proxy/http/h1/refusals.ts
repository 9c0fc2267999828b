// Requests that the codec refuses: what is wrong with them, and the status of the answer.

import type { CodecError } from '../codec.ts'
import { hasControls } from './characters.ts'
import { CODEC_ERROR, HEADERS_TOO_LARGE, INVALID_CHARACTERS, TOO_MANY_HEADERS } from './head.ts'

export const RESPONSE_FLOOD: CodecError = {
  details: 'codec_error:Too_many_responses_queued.',
  message: 'too many responses queued',
}
export const LOW_VERSION: CodecError = { details: 'low_version', message: 'HTTP/1.0 or older' }
export const HTTPS_ON_PLAINTEXT: CodecError = {
  details: 'http1.https_url_on_plaintext_connection',
  message: 'an https target without TLS',
}

/** Of the answer to a request that is refused for `error`. */
export function statusOf(error: CodecError): number {
  if (error === HEADERS_TOO_LARGE || error === TOO_MANY_HEADERS) return 431
  if (error === LOW_VERSION) return 426
  if (error === HTTPS_ON_PLAINTEXT) return 403
  return error.details === 'http1.invalid_transfer_encoding' ? 501 : 400
}

/** Why a request of HTTP/0.9 is refused. */
export function shortLineError(line: string, parsed: boolean): CodecError {
  if (hasControls(line)) return INVALID_CHARACTERS
  return parsed ? LOW_VERSION : CODEC_ERROR
}
