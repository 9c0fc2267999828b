// hash_policy: the 64-bit hash that hashing balancers choose a host by (envoy-contract §7.5).

import { xxh64Bytes } from '../../base/hash.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { HashPolicyData } from './config.ts'
import { compileRegexSubstitution } from './regex.ts'
import { cookieValue, queryParameter } from './request-path.ts'

/** Takes the cookie that a policy generated, for the response. */
export interface CookieSink {
  addSetCookie(cookie: string): void
}

type Part = (headers: HeaderMap, info: StreamInfo, cookies: CookieSink) => bigint | null

const MASK = (1n << 64n) - 1n

/** One route's list of policies. */
export class HashPolicy {
  private readonly parts: readonly { readonly terminal: boolean; readonly hash: Part }[]

  constructor(policies: readonly HashPolicyData[]) {
    this.parts = policies.map((policy) => ({ terminal: policy.terminal, hash: compilePart(policy) }))
  }

  /** null when no policy applies: the balancer then chooses at random. */
  hash(headers: HeaderMap, info: StreamInfo, cookies: CookieSink): bigint | null {
    let hash: bigint | null = null
    for (const part of this.parts) {
      const next = part.hash(headers, info, cookies)
      if (next !== null) {
        // Rotating keeps two equal values from cancelling out.
        const old: bigint = hash === null ? 0n : ((hash << 1n) | (hash >> 63n)) & MASK
        hash = old ^ next
      }
      if (part.terminal && hash !== null) break
    }
    return hash
  }
}

function compilePart(policy: HashPolicyData): Part {
  switch (policy.kind) {
    case 'header':
      return headerPart(policy.name, policy.rewrite ? compileRegexSubstitution(policy.rewrite) : null)
    case 'cookie':
      return cookiePart(policy)
    case 'source_ip':
      return (_, info) => (info.downstream.remoteAddress.ip ? xxh64Bytes(info.downstream.remoteAddress.ip) : null)
    case 'query_parameter':
      return (headers) => {
        const value = queryParameter(headers.path, policy.name)
        return value === undefined ? null : xxh64Bytes(value)
      }
    case 'filter_state':
      return (_, info) => {
        const value = info.filterState.get(policy.key)
        return value === undefined ? null : xxh64Bytes(String(value))
      }
  }
}

function headerPart(name: string, rewrite: ((text: string) => string) | null): Part {
  return (headers) => {
    if (name.startsWith(':')) {
      const value = headers.get(name)
      return value === undefined ? null : xxh64Bytes(rewrite ? rewrite(value) : value)
    }
    const values: string[] = []
    for (let i = 0; i < headers.list.length; i += 2) {
      if (headers.list[i] === name) values.push(rewrite ? rewrite(headers.list[i + 1]!) : headers.list[i + 1]!)
    }
    if (values.length === 0) return null
    // Order must not matter: of the sorted values each one's hash is the seed of the next (Envoy).
    let hash = 0n
    for (const value of values.sort()) hash = xxh64Bytes(value, hash)
    return hash
  }
}

function cookiePart(policy: Extract<HashPolicyData, { kind: 'cookie' }>): Part {
  const { name, path, ttlS, attributes } = policy
  let suffix = ''
  if (ttlS !== null && ttlS > 0) suffix += `; Max-Age=${ttlS}`
  if (path) suffix += `; Path=${path}`
  for (const attribute of attributes)
    suffix += attribute.value ? `; ${attribute.name}=${attribute.value}` : `; ${attribute.name}`
  return (headers, info, cookies) => {
    const given = cookieValue(headers, name)
    if (given !== undefined && given !== '') return xxh64Bytes(given)
    if (ttlS === null) return null
    const value = xxh64Bytes(info.downstream.remoteAddress.text + info.downstream.localAddress.text).toString(16)
    cookies.addSetCookie(`${name}="${value}"${suffix}; HttpOnly`)
    return xxh64Bytes(value)
  }
}
