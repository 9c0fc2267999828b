// The parts of `:path` and of cookie headers, read in place.

import type { HeaderMap } from '../http/header-map.ts'

/** Length of the path without query and fragment. */
export function pathEnd(path: string): number {
  for (let i = 0; i < path.length; i++) {
    const c = path.charCodeAt(i)
    if (c === 63 /* ? */ || c === 35 /* # */) return i
  }
  return path.length
}

/** The path without query and fragment. */
export function pathWithoutQuery(path: string): string {
  const end = pathEnd(path)
  return end === path.length ? path : path.slice(0, end)
}

/** `/a;p=1/b;q` → `/a/b`: what ignore_path_parameters_in_path_matching compares. */
export function withoutPathParameters(path: string): string {
  return path.includes(';') ? path.replace(/;[^/?#]*/g, '') : path
}

/** First value of a query parameter, as written (not decoded), or undefined. */
export function queryParameter(path: string, name: string): string | undefined {
  let at = path.indexOf('?')
  if (at < 0) return undefined
  const hash = path.indexOf('#', at)
  const end = hash < 0 ? path.length : hash
  while (at < end) {
    const start = at + 1
    let next = path.indexOf('&', start)
    if (next < 0 || next > end) next = end
    let equals = path.indexOf('=', start)
    if (equals < 0 || equals > next) equals = next
    if (equals - start === name.length && path.startsWith(name, start))
      return path.slice(Math.min(equals + 1, next), next)
    at = next
  }
  return undefined
}

/** First value of a query parameter, names and values percent-decoded, or undefined. */
export function decodedQueryParameter(path: string, name: string): string | undefined {
  const question = path.indexOf('?')
  if (question < 0 || !path.includes('%', question)) return queryParameter(path, name)
  const hash = path.indexOf('#', question)
  for (const pair of path.slice(question + 1, hash < 0 ? path.length : hash).split('&')) {
    const equals = pair.indexOf('=')
    if (percentDecoded(equals < 0 ? pair : pair.slice(0, equals)) === name)
      return equals < 0 ? '' : percentDecoded(pair.slice(equals + 1))
  }
  return undefined
}

/** What is no escape stays. */
function percentDecoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** Value of a cookie, quotes removed, or undefined. Only blanks in front of a name do not belong to it or to the value (Envoy). */
export function cookieValue(headers: HeaderMap, name: string): string | undefined {
  const list = headers.list
  for (let i = 0; i < list.length; i += 2) {
    if (list[i] !== 'cookie') continue
    for (const pair of list[i + 1]!.split(';')) {
      const equals = pair.indexOf('=')
      if (equals < 0) continue
      let start = 0
      while (pair.charCodeAt(start) === 32) start++
      if (pair.slice(start, equals) !== name) continue
      const value = pair.slice(equals + 1)
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
    }
  }
  return undefined
}

/** Where the port begins (at ':'), or -1: `host:80`, `[::1]:80`. */
export function portStart(authority: string): number {
  const colon = authority.lastIndexOf(':')
  if (colon < 0) return -1
  const bracket = authority.lastIndexOf(']')
  if (bracket > colon) return -1
  // A bare IPv6 address has more colons and no brackets.
  if (bracket < 0 && authority.indexOf(':') !== colon) return -1
  for (let i = colon + 1; i < authority.length; i++) {
    const c = authority.charCodeAt(i)
    if (c < 48 || c > 57) return -1
  }
  return colon
}
