// Path and host rewrites of routes and redirects.

import type { HeaderMap } from '../http/header-map.ts'
import { compileHeaderFormat } from '../observe/format/text-format.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { HostRewriteData, PathMatchData, PathRewriteData } from './config.ts'
import { compileRegexSubstitution } from './regex.ts'
import { pathEnd, pathWithoutQuery } from './request-path.ts'

/** The new `:path`, query kept; '' to leave it. */
export type PathRewrite = (path: string, headers: HeaderMap, info: StreamInfo) => string

/** `match` is the path specifier of the same route: prefix_rewrite replaces what it matched. */
export function compilePathRewrite(rewrite: PathRewriteData | null, match: PathMatchData): PathRewrite | null {
  if (rewrite === null) return null
  if (rewrite.kind === 'regex') {
    const substitute = compileRegexSubstitution(rewrite.rewrite)
    return (path) => {
      const end = pathEnd(path)
      const rewritten = substitute(path.slice(0, end))
      return rewritten === '' ? '' : rewritten + path.slice(end)
    }
  }
  if (rewrite.kind === 'format') {
    const format = compileHeaderFormat(rewrite.format, 'path_rewrite')
    return (path, headers, info) => format.format(headers, null, info) + path.slice(pathEnd(path))
  }
  const replacement = rewrite.value
  if (match.kind === 'prefix' || match.kind === 'path_separated_prefix') {
    const length = match.value.length
    return (path) => replacement + path.slice(length)
  }
  // An exact path, a regex: the whole path was matched.
  return (path) => replacement + path.slice(pathEnd(path))
}

/** The new authority, or '' to leave it. */
export type HostRewrite = (headers: HeaderMap, info: StreamInfo) => string

/** null for none, and for auto_host_rewrite, which waits for the host choice. */
export function compileHostRewrite(rewrite: HostRewriteData | null): HostRewrite | null {
  switch (rewrite?.kind) {
    case 'literal': {
      const host = rewrite.host
      return () => host
    }
    case 'format': {
      const format = compileHeaderFormat(rewrite.format, 'host_rewrite')
      return (headers, info) => format.format(headers, null, info)
    }
    case 'header': {
      const name = rewrite.name
      return (headers) => headers.get(name) ?? ''
    }
    case 'path_regex': {
      const substitute = compileRegexSubstitution(rewrite.rewrite)
      return (headers) => substitute(pathWithoutQuery(headers.path))
    }
    default:
      return null
  }
}

/** Replaces the authority; what it was stays, where asked for, in x-envoy-original-host and x-forwarded-host. */
export function updateAuthority(
  headers: HeaderMap,
  host: string,
  appendXForwardedHost: boolean,
  keepOriginal: boolean,
): void {
  const old = headers.authority
  if (old !== '') {
    if (keepOriginal) headers.set('x-envoy-original-host', old)
    if (appendXForwardedHost) appendForwardedHost(headers, old)
  }
  headers.authority = host
}

/** A host that ends the list already is not added again (a retry, or a proxy before us). */
function appendForwardedHost(headers: HeaderMap, host: string): void {
  const list = headers.get('x-forwarded-host')
  if (list !== undefined && list.slice(list.lastIndexOf(',') + 1).trim() === host) return
  headers.append('x-forwarded-host', host)
}
