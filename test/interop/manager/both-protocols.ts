// Requests that a table of connection managers gets over both protocols, several on one connection.

import { type Case, http2 } from '../generated/cases.ts'
import type { Http2Request } from '../generated/http2-session.ts'

/** Fields with their pseudo-headers; a name may stand several times where its value is a list. */
export interface Request {
  readonly fields: Readonly<Record<string, string | readonly string[]>>
  readonly body?: readonly string[]
}

const PSEUDO = { ':method': 'GET', ':path': '/a', ':authority': 'a', ':scheme': 'http' }

function all({ fields, body }: Request): [string, string][] {
  const method = body ? { ':method': 'POST' } : {}
  const entries: [string, string | readonly string[]][] = Object.entries({ ...PSEUDO, ...method, ...fields })
  return entries.flatMap(([name, value]) => [value].flat().map((one): [string, string] => [name, one as string]))
}

/** The bytes of each request, of which the last closes the connection. */
function http1Of(requests: readonly Request[]): string[] {
  return requests.map((request, i) => {
    const fields = all(request)
    const pseudo = Object.fromEntries(fields.filter(([name]) => name.startsWith(':')))
    const lines = [`${pseudo[':method']} ${pseudo[':path']} HTTP/1.1`, `host: ${pseudo[':authority']}`, 'x-case: ID']
    for (const [name, value] of fields) if (!name.startsWith(':')) lines.push(`${name}: ${value}`)
    const body = request.body?.join('')
    if (body !== undefined) lines.push(`content-length: ${body.length}`)
    if (i === requests.length - 1) lines.push('connection: close')
    return `${lines.join('\r\n')}\r\n\r\n${body ?? ''}`
  })
}

function http2Of(requests: readonly Request[]): Http2Request[] {
  return requests.map((request) => ({ ...http2({}, request.body ?? null), fields: all(request) }))
}

/** Two cases: the requests over HTTP/1 and over HTTP/2. */
export function both(what: Omit<Case, 'client'>, requests: readonly Request[]): Case[] {
  return [
    { ...what, name: `${what.name}, HTTP/1`, client: http1Of(requests) },
    { ...what, name: `${what.name}, HTTP/2`, client: http2Of(requests) },
  ]
}

/** Every combination of one value for each key. */
export function product<T extends Readonly<Record<string, readonly unknown[]>>>(
  table: T,
): { readonly [K in keyof T]: T[K][number] }[] {
  let rows: Record<string, unknown>[] = [{}]
  for (const [key, values] of Object.entries(table))
    rows = rows.flatMap((row) => values.map((value) => ({ ...row, [key]: value })))
  return rows as { readonly [K in keyof T]: T[K][number] }[]
}

/** Of an option that is not given, no field at all. */
export function given(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
