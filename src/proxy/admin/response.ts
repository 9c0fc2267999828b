// What a handler gives back, and the JSON that Envoy's admin writes.

/** An admin answer. */
export interface AdminResponse {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

/** A parsed admin request. */
export interface AdminRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
}

const TEXT = 'text/plain; charset=UTF-8'

export function text(body: string, status = 200): AdminResponse {
  return { status, contentType: TEXT, body }
}

/** Pretty JSON with one space of indent and a newline, as protobuf's JSON printer in Envoy. */
export function json(value: unknown): AdminResponse {
  return { status: 200, contentType: 'application/json', body: `${JSON.stringify(value, null, 1)}\n` }
}

export const OK = text('OK\n')
