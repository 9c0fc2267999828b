// The Location of a redirect (envoy-contract §7.3).

import type { HeaderMap } from '../http/header-map.ts'
import type { RedirectData } from './config.ts'

/**
 * Where `headers` is sent; its path was rewritten before where the redirect says so. `path` is the redirect's own, '' = the
 * request's.
 */
export function redirectLocation(redirect: RedirectData, headers: HeaderMap, path: string): string {
  const scheme = redirect.schemeRedirect || (redirect.httpsRedirect ? 'https' : headers.scheme)
  const port = redirect.portRedirect ? `:${redirect.portRedirect}` : ''
  const host = redirect.hostRedirect || requestHost(headers, scheme, port !== '')
  return `${scheme}://${host}${port}${redirectPath(path, redirect.stripQuery, headers.path)}`
}

function redirectPath(newPath: string, stripQuery: boolean, requestPath: string): string {
  const ownQuery = newPath.includes('?')
  let path = requestPath
  if (newPath !== '') {
    path = newPath
    const query = requestPath.indexOf('?')
    if (!ownQuery && query >= 0) path += requestPath.slice(query)
  }
  if (stripQuery && !ownQuery) {
    const query = path.indexOf('?')
    if (query >= 0) path = path.slice(0, query)
  }
  return path.startsWith('/') ? path : `/${path}`
}

/** The request's host; its port goes when a new one comes, or when it was the default of a scheme that changes. */
function requestHost(headers: HeaderMap, newScheme: string, newPort: boolean): string {
  const host = headers.authority
  let end: number
  if (host.startsWith('[')) {
    end = host.lastIndexOf(']:')
    if (end >= 0) end++
  } else end = host.lastIndexOf(':')
  if (end < 0) return host
  const port = host.slice(end)
  const scheme = headers.scheme
  const wasDefault = (scheme === 'http' && port === ':80') || (scheme === 'https' && port === ':443')
  return newPort || (newScheme !== scheme && wasDefault) ? host.slice(0, end) : host
}

/** require_tls: the same URL over https. */
export function tlsRedirectLocation(headers: HeaderMap): string {
  return `https://${headers.authority}${headers.path}`
}
