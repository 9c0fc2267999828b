// Errors that carry what a user needs: where, what, and how to mend it.

/** One fault in one input. `path` is the field path inside the resource, e.g. `spec.http[0].route[1].weight`. */
export interface Problem {
  readonly path: string
  readonly message: string
  /** What to do about it, when that is not plain from the message. */
  readonly hint?: string
  readonly level: 'error' | 'warning'
}

/** Outcome of parsing untrusted input: a value that needs no further check, or every problem found. */
export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly Problem[] }

export function ok<T>(value: T): Result<T> {
  return { ok: true, value }
}

export function fail<T>(path: string, message: string, hint?: string): Result<T> {
  return { ok: false, problems: [{ path, message, hint, level: 'error' }] }
}

/** A refused configuration: thrown while building, caught at the update's edge, which keeps the last good one. */
export class ConfigError extends Error {
  readonly path: string
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(path ? `${path}: ${reason}` : reason, options)
    this.name = 'ConfigError'
    this.path = path
  }
}

/** A message for the person at the terminal; printed without a stack. `exitCode` follows istioctl (1 error, 64 usage, 65 data). */
export class UserError extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode = 1, options?: ErrorOptions) {
    super(message, options)
    this.name = 'UserError'
    this.exitCode = exitCode
  }
}

/** The text of anything thrown, for logs and NACK reasons. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
