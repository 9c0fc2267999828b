// Splits a stat name into the name without its variable parts and the tags (labels) made of them.

import type { TagRule } from './stats-settings.ts'

export interface TaggedName {
  /** The stat's name with every tag's part cut out. */
  readonly name: string
  readonly tags: readonly (readonly [name: string, value: string])[]
}

interface Extractor {
  readonly name: string
  /** null: the tag has a fixed value. */
  readonly regex: RegExp | null
  readonly fixedValue: string
}

/** A rule whose expression begins with a literal first word, `^cluster\\.`; Envoy asks these after all others. */
const FIRST_WORD = /^\^\w+\\\./

/** Extracts tags; answers are remembered, since names repeat with every scrape. */
export class TagExtractor {
  private readonly extractors: readonly Extractor[]
  private readonly known = new Map<string, TaggedName>()

  constructor(rules: readonly TagRule[]) {
    const byWord = (rule: TagRule) => rule.fixedValue === null && FIRST_WORD.test(rule.regex)
    const ordered = [...rules.filter((rule) => !byWord(rule)), ...rules.filter(byWord)]
    // Written by whoever writes the bootstrap, and run on our own stat names: JavaScript's engine is safe here and has
    // the look-ahead that Envoy's (ECMAScript) tag rules may use.
    this.extractors = ordered.map(({ name, regex, fixedValue }) => ({
      name,
      regex: fixedValue === null ? new RegExp(regex, 'd') : null,
      fixedValue: fixedValue ?? '',
    }))
  }

  extract(name: string): TaggedName {
    let tagged = this.known.get(name)
    if (!tagged) this.known.set(name, (tagged = this.split(name)))
    return tagged
  }

  /** Forgets names that no longer exist. */
  retain(exists: (name: string) => boolean): void {
    for (const name of this.known.keys()) if (!exists(name)) this.known.delete(name)
  }

  private split(name: string): TaggedName {
    const tags: (readonly [string, string])[] = []
    const cuts: [number, number][] = []
    for (const { name: tag, regex, fixedValue } of this.extractors) {
      if (regex === null) {
        tags.push([tag, fixedValue])
        continue
      }
      const match = regex.exec(name)
      const cut = match?.indices?.[1]
      if (!match || !cut) continue
      tags.push([tag, match[2] ?? match[1]!])
      cuts.push(cut)
    }
    cuts.sort((a, b) => a[0] - b[0])
    let rest = ''
    let from = 0
    for (const [start, end] of cuts) {
      if (start > from) rest += name.slice(from, start)
      if (end > from) from = end
    }
    return { name: rest + name.slice(from), tags }
  }
}
