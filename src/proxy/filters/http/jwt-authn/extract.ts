// Where tokens are found in a request, and how they are taken out again.

import type { HeaderMap } from '../../../http/header-map.ts'
import { cookieValue, queryParameter } from '../../../route/request-path.ts'
import type { ProviderConfig } from './config.ts'

/** A token and where it was. */
export interface FoundToken {
  readonly token: string
  readonly header: string
  readonly param: string
}

type Places = Pick<ProviderConfig, 'fromHeaders' | 'fromParams' | 'fromCookies'>

const DEFAULT_PLACES: Places = {
  fromHeaders: [{ name: 'authorization', prefix: 'Bearer ' }],
  fromParams: ['access_token'],
  fromCookies: [],
}

function placesOf(provider: Places): Places {
  const own = provider.fromHeaders.length + provider.fromParams.length + provider.fromCookies.length > 0
  return own ? provider : DEFAULT_PLACES
}

/** Tokens at the places of one provider, each once. */
export function extractTokens(headers: HeaderMap, provider: Places): FoundToken[] {
  const found: FoundToken[] = []
  const { fromHeaders, fromParams, fromCookies } = placesOf(provider)
  for (const { name, prefix } of fromHeaders) {
    const value = headers.get(name)
    if (value === undefined) continue
    const at = prefix === '' ? 0 : value.indexOf(prefix)
    if (at < 0) continue
    // The token ends where its alphabet does: it may be one of several parts of a value.
    const token = /^[A-Za-z0-9_.=-]*/.exec(value.slice(at + prefix.length).trimStart())![0]
    if (token !== '') found.push({ token, header: name, param: '' })
  }
  for (const param of fromParams) {
    const token = queryParameter(headers.path, param)
    if (token) found.push({ token, header: '', param })
  }
  for (const cookie of fromCookies) {
    const token = cookieValue(headers, cookie)
    if (token) found.push({ token, header: '', param: '' })
  }
  return found
}

/** What the application must not see; cookies stay. */
export function removeToken(headers: HeaderMap, found: FoundToken): void {
  if (found.header !== '') headers.remove(found.header)
  if (found.param === '') return
  const query = headers.path.indexOf('?')
  const kept = headers.path
    .slice(query + 1)
    .split('&')
    .filter((pair) => pair !== found.param && !pair.startsWith(`${found.param}=`))
  headers.path = headers.path.slice(0, query) + (kept.length > 0 ? `?${kept.join('&')}` : '')
}
