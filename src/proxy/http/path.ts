// Path normalisation before routing (envoy-contract §5.1): escaped slashes, RFC 3986 canonical form, merged slashes.
// A pure function with a fast path: a clean path is returned as it is, after one scan.

export interface PathOptions {
  readonly normalize: boolean
  readonly mergeSlashes: boolean
  readonly escapedSlashes: 'KEEP_UNCHANGED' | 'REJECT_REQUEST' | 'UNESCAPE_AND_REDIRECT' | 'UNESCAPE_AND_FORWARD'
  /** Runtime envoy.reloadable_features.http_reject_path_with_fragment; false (Istio) cuts the fragment off. */
  readonly rejectFragment: boolean
}

export const PathAction = { Continue: 0, Reject: 1, Redirect: 2 } as const
export type PathAction = (typeof PathAction)[keyof typeof PathAction]

/** Result slots, reused: read them before the next call. */
export const normalized: { path: string; action: PathAction } = { path: '', action: PathAction.Continue }

const PERCENT = 37
const DOT = 46
const SLASH = 47
const BACKSLASH = 92

/** Bits per ASCII character: what canonical form does with it outside the query. */
const ESCAPE = 1
/** Written plain when it arrives percent-encoded. */
const UNRESERVED = 2
const CHARACTER = new Uint8Array(128)
for (let c = 0; c < 128; c++) {
  const text = String.fromCharCode(c)
  if (/[A-Za-z0-9\-._~]/.test(text)) CHARACTER[c] = UNRESERVED
  else if (!/[!$&'()*+,/:;=@[\]%\\]/.test(text)) CHARACTER[c] = ESCAPE
}

/**
 * Normalises `path` (with query). Sets `normalized.path` and returns the action: Reject answers 400
 * `path_normalization_failed`, Redirect answers 307 to the new path.
 */
export function normalizePath(path: string, options: PathOptions): PathAction {
  normalized.path = path
  normalized.action = PathAction.Continue
  const fragment = path.indexOf('#')
  if (fragment >= 0) {
    if (options.rejectFragment) return reject(path)
    path = path.slice(0, fragment)
  }
  const queryAt = path.indexOf('?')
  let head = queryAt < 0 ? path : path.slice(0, queryAt)
  const query = queryAt < 0 ? '' : path.slice(queryAt)
  if (options.escapedSlashes !== 'KEEP_UNCHANGED' && head.includes('%')) {
    const plain = unescapeSlashes(head)
    if (plain !== head) {
      if (options.escapedSlashes === 'REJECT_REQUEST') return reject(plain + query)
      if (options.escapedSlashes === 'UNESCAPE_AND_REDIRECT') normalized.action = PathAction.Redirect
      head = plain
    }
  }
  if (options.normalize) {
    const canonical = canonicalPath(head)
    if (canonical === null) return reject(head + query)
    head = canonical
  }
  if (options.mergeSlashes && head.includes('//')) head = mergeSlashes(head)
  normalized.path = query === '' ? head : head + query
  return normalized.action
}

/** `path`: how far it was rewritten, for the log. */
function reject(path: string): PathAction {
  normalized.path = path
  return (normalized.action = PathAction.Reject)
}

/** `%2F`, `%2f` → `/`; `%5C`, `%5c` → `\`. */
function unescapeSlashes(path: string): string {
  let out = ''
  let from = 0
  for (let i = path.indexOf('%'); i >= 0; i = path.indexOf('%', i + 1)) {
    const code = hexPair(path, i + 1)
    if (code !== SLASH && code !== BACKSLASH) continue
    out += path.slice(from, i) + String.fromCharCode(code)
    from = i + 3
  }
  return from === 0 ? path : out + path.slice(from)
}

/** As Envoy joins the non-empty segments, so that slashes alone become `//`. */
function mergeSlashes(path: string): string {
  let out = ''
  let from = 0
  let empty = true
  for (let i = 0; i <= path.length; i++) {
    if (i < path.length && path.charCodeAt(i) !== SLASH) continue
    if (i > from) {
      out += empty ? path.slice(from, i) : `/${path.slice(from, i)}`
      empty = false
    }
    from = i + 1
  }
  const start = path.charCodeAt(0) === SLASH ? '/' : ''
  return start + out + (path.charCodeAt(path.length - 1) === SLASH ? '/' : '')
}

/** Canonical form of a path without query; null when it cannot have one (a NUL, or no leading slash). */
function canonicalPath(path: string): string | null {
  if (path.charCodeAt(0) !== SLASH && path.charCodeAt(0) !== BACKSLASH) return null
  return isCanonical(path) ? path : rewrite(path)
}

/** True when rewriting would change nothing. */
function isCanonical(path: string): boolean {
  for (let i = 0; i < path.length; i++) {
    const c = path.charCodeAt(i)
    if (c === PERCENT || c === BACKSLASH || c > 127 || CHARACTER[c] === ESCAPE) return false
    if (c === DOT && path.charCodeAt(i - 1) === SLASH) return false
  }
  return true
}

function rewrite(path: string): string | null {
  const segments: string[] = []
  let segment = ''
  const end = path.length
  for (let i = 1; ; ) {
    const c = i < end ? path.charCodeAt(i) : SLASH
    if (c === SLASH || c === BACKSLASH) {
      const last = i >= end
      const dots = dotSegment(segment)
      if (dots === 2) segments.pop()
      if (dots === 0 || last) segments.push(dots === 0 ? segment : '')
      segment = ''
      if (last) break
      i++
      continue
    }
    if (c === PERCENT) {
      const code = hexPair(path, i + 1)
      if (code === 0) return null
      if (code > 0 && code < 128 && CHARACTER[code] === UNRESERVED) segment += String.fromCharCode(code)
      // Case of the digits is kept; a stray percent sign too.
      else segment += code < 0 ? '%' : path.slice(i, i + 3)
      i += code < 0 ? 1 : 3
      continue
    }
    if (c === 0) return null
    segment += c > 127 || CHARACTER[c] === ESCAPE ? escapeByte(c) : path[i]
    i++
  }
  return `/${segments.join('/')}`
}

/** 1 for `.`, 2 for `..`, with path parameters (`..;x`) or without; else 0. */
function dotSegment(segment: string): number {
  if (segment.charCodeAt(0) !== DOT) return 0
  const dots = segment.charCodeAt(1) === DOT ? 2 : 1
  return segment.length === dots || segment[dots] === ';' ? dots : 0
}

/** Header text is latin1: one character is one byte. */
function escapeByte(code: number): string {
  return `%${code.toString(16).toUpperCase().padStart(2, '0')}`
}

/** The byte that two hex digits at `at` say, or -1. */
function hexPair(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at))
  const low = hexDigit(text.charCodeAt(at + 1))
  return high < 0 || low < 0 ? -1 : high * 16 + low
}

function hexDigit(c: number): number {
  if (c >= 48 && c <= 57) return c - 48
  const lower = c | 32
  return lower >= 97 && lower <= 102 ? lower - 87 : -1
}
