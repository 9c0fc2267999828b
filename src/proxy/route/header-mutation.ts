// One level's header mutations: removals first, then additions, all values worked out before any is applied.

import type { HeaderMap } from '../http/header-map.ts'
import { joinedValue, REQUEST_JOINED, RESPONSE_JOINED } from '../http/joined-headers.ts'
import { compileHeaderFormat, type HeaderFormat } from '../observe/format/text-format.ts'
import type { StreamInfo } from '../stream-info.ts'
import { AppendAction, type HeaderMutationsData } from './config.ts'
import { compileStringMatcher, type StringMatch } from './string-matcher.ts'

/** Throws ConfigError with Envoy's message for a bad substitution format. */
export function checkHeaderFormat(value: string, path: string): void {
  compileHeaderFormat(value, path)
}

interface Addition {
  readonly name: string
  readonly format: HeaderFormat
  readonly action: AppendAction
  readonly keepEmpty: boolean
  /** A second value joins the first, in requests and in responses. */
  readonly joinsRequest: boolean
  readonly joinsResponse: boolean
}

/** Compiled request_headers_to_add/remove or response_headers_to_add/remove. */
export class HeaderMutations {
  private readonly remove: readonly string[]
  private readonly removeMatching: StringMatch | null
  private readonly add: readonly Addition[]
  /** This request's values by addition; null = not added. Filled and emptied within apply(). */
  private readonly values: (string | null)[]

  constructor(data: HeaderMutationsData) {
    this.remove = data.remove
    this.removeMatching = data.removeMatching ? compileStringMatcher(data.removeMatching) : null
    this.add = data.add.map(({ name, value, action, keepEmpty }) => ({
      name,
      format: compileHeaderFormat(value, name),
      action,
      keepEmpty,
      joinsRequest: REQUEST_JOINED.has(name),
      joinsResponse: RESPONSE_JOINED.has(name),
    }))
    this.values = this.add.map(() => null)
  }

  /** Changes `headers`; formats read the request and (null before it is there) the response. */
  apply(headers: HeaderMap, info: StreamInfo, request: HeaderMap | null, response: HeaderMap | null): void {
    for (let i = 0; i < this.remove.length; i++) headers.remove(this.remove[i]!)
    if (this.removeMatching !== null) removeMatching(headers, this.removeMatching)
    const { add, values } = this
    for (let i = 0; i < add.length; i++) {
      const { name, format, action, keepEmpty } = add[i]!
      const value = format.format(request, response, info)
      const wanted =
        (value !== '' || keepEmpty) &&
        (action === AppendAction.AddIfAbsent
          ? !headers.has(name)
          : action !== AppendAction.OverwriteIfExists || headers.has(name))
      values[i] = wanted ? value : null
    }
    // Overwriting comes before appending, whatever the order in the configuration.
    for (let i = 0; i < add.length; i++) {
      if (values[i] !== null && add[i]!.action >= AppendAction.OverwriteIfExistsOrAdd)
        overwrite(headers, add[i]!.name, values[i]!)
    }
    for (let i = 0; i < add.length; i++) {
      if (values[i] !== null && add[i]!.action < AppendAction.OverwriteIfExistsOrAdd) {
        const { name, joinsRequest, joinsResponse } = add[i]!
        const before = (response === null ? joinsRequest : joinsResponse) ? headers.get(name) : undefined
        if (before === undefined) headers.add(name, values[i]!)
        else headers.set(name, joinedValue(before, values[i]!))
      }
      values[i] = null
    }
  }
}

function removeMatching(headers: HeaderMap, matches: StringMatch): void {
  const names = new Set<string>()
  for (let i = 0; i < headers.list.length; i += 2) if (matches(headers.list[i]!)) names.add(headers.list[i]!)
  for (const name of names) headers.remove(name)
}

/** The new value goes to the end, where Envoy puts it. */
function overwrite(headers: HeaderMap, name: string, value: string): void {
  headers.remove(name)
  headers.add(name, value)
}
