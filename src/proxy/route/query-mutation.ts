// query_parameter_mutations: parameters of the request's path added, replaced and removed. Envoy sorts them by name and
// decodes those it does not touch; here they stay as they came, for a path must remain one.

import type { HeaderMap } from '../http/header-map.ts'
import { compileHeaderFormat, type HeaderFormat } from '../observe/format/text-format.ts'
import type { StreamInfo } from '../stream-info.ts'
import { AppendAction, type QueryMutationData } from './config.ts'

/** Throws ConfigError for a bad format. */
export function checkQueryMutation({ value }: QueryMutationData, path: string): void {
  compileHeaderFormat(value, path)
}

export class QueryMutation {
  private readonly data: QueryMutationData
  private readonly format: HeaderFormat

  constructor(data: QueryMutationData) {
    this.data = data
    this.format = compileHeaderFormat(data.value, data.name)
  }

  apply(headers: HeaderMap, info: StreamInfo): void {
    const { name, action } = this.data
    const question = headers.path.indexOf('?')
    const query = question < 0 ? '' : headers.path.slice(question + 1)
    const before = query === '' ? [] : query.split('&').map((pair): Pair => pairOf(pair))
    const there = before.some((pair) => pair.name === name)
    let pairs = before
    if (action === 'remove') pairs = before.filter((pair) => pair.name !== name)
    else {
      const value = encodeURIComponent(this.format.format(headers, null, info))
      const added = { name, text: `${encodeURIComponent(name)}=${value}` }
      if (action === AppendAction.AppendIfExistsOrAdd || !there) {
        if (action !== AppendAction.OverwriteIfExists || there) pairs = [...before, added]
      } else if (action !== AppendAction.AddIfAbsent) {
        pairs = [...before.filter((pair) => pair.name !== name), added]
      }
    }
    const sorted = pairs.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    const path = question < 0 ? headers.path : headers.path.slice(0, question)
    headers.path = sorted.length === 0 ? path : `${path}?${sorted.map(({ text }) => text).join('&')}`
  }
}

interface Pair {
  readonly name: string
  /** As it is written. */
  readonly text: string
}

function pairOf(text: string): Pair {
  const equals = text.indexOf('=')
  const name = equals < 0 ? text : text.slice(0, equals)
  let decoded = name
  try {
    decoded = decodeURIComponent(name)
  } catch {
    // Not percent-encoded: it is its own name.
  }
  return { name: decoded, text: equals < 0 ? `${text}=` : text }
}
