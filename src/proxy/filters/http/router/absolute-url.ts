// Absolute URLs of redirects, taken apart and not tidied up: dots, escapes, letters and ports go on as they came (Envoy).

export interface AbsoluteUrl {
  /** Lower case; any word. */
  readonly scheme: string
  /** Host and port, without what stands in front of an @. */
  readonly authority: string
  /** Path and query, without the fragment; '/' where there is neither. */
  readonly path: string
}

/** null for what is none: relative references, blanks and bytes beyond ASCII, hosts that cannot be names or addresses. */
export function parseAbsoluteUrl(text: string): AbsoluteUrl | null {
  const match = /^([A-Za-z]+):\/\/([^/?#]*)([!-~]*)$/.exec(text)
  if (match === null) return null
  const [, scheme = '', whole = '', rest = ''] = match
  if (rest.startsWith('#')) return null
  const authority = authorityOf(whole)
  if (authority === null) return null
  const fragment = rest.indexOf('#')
  return {
    scheme: scheme.toLowerCase(),
    authority,
    path: rest === '' ? '/' : fragment < 0 ? rest : rest.slice(0, fragment),
  }
}

const USER_INFO = /^[-0-9A-Za-z_.!~*'()%;:&=+$,]*$/
const HOST_AND_PORT = /^(?:[-0-9A-Za-z.]+|\[[0-9A-Fa-f:.]+\])(?::(\d+))?$/

function authorityOf(text: string): string | null {
  const at = text.indexOf('@')
  if (at >= 0 && !USER_INFO.test(text.slice(0, at))) return null
  const authority = text.slice(at + 1)
  const match = HOST_AND_PORT.exec(authority)
  return match === null || Number(match[1] ?? 0) > 0xffff ? null : authority
}
