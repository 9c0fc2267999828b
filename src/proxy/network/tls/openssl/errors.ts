// OpenSSL's queue of errors, one for each thread.

import { openssl } from './library.ts'

export interface SslErrors {
  /** OpenSSL's reasons, the oldest first: `wrong version number`. */
  readonly reasons: readonly string[]
}

/** System errors carry errno instead of a reason (ERR_SYSTEM_FLAG). */
const SYSTEM_ERROR = 0x80000000
const MOST = 16

/** Empties the queue. System errors are left out: the socket reports them too. */
export function takeErrors(): SslErrors {
  const lib = openssl()
  const reasons: string[] = []
  for (let i = 0; i < MOST; i++) {
    const code = lib.ERR_get_error()
    if (code === 0) break
    if (code >= SYSTEM_ERROR) continue
    reasons.push(lib.ERR_reason_error_string(code) ?? `reason ${code & 0x7fffff}`)
  }
  lib.ERR_clear_error()
  return { reasons }
}

/** For a call that refused configuration. */
export function configurationError(what: string): Error {
  const { reasons } = takeErrors()
  return new Error(reasons.length === 0 ? what : `${what}: ${reasons.join(', ')}`)
}
