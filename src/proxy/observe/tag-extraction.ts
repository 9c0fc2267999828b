// Splits a stat name into the name without its variable parts and the tags (labels) made of them.

import type { TagRule } from './stats-settings.ts'

export interface TaggedName {
  /** The stat's name with every tag's part cut out. */
  readonly name: string
  readonly tags: readonly (readonly [name: string, value: string])[]
}

/** Extracts tags by rules in order; answers are remembered, since names repeat with every scrape. */
export class TagExtractor {
  private readonly fixed: (readonly [string, string])[] = []
  private readonly rules: { readonly name: string; readonly regex: RegExp }[] = []
  private readonly known = new Map<string, TaggedName>()

  constructor(rules: readonly TagRule[]) {
    for (const rule of rules) {
      if (rule.fixedValue !== null) this.fixed.push([rule.name, rule.fixedValue])
      // Written by whoever writes the bootstrap, and run on our own stat names: JavaScript's engine is safe here and has
      // the look-ahead that Envoy's (ECMAScript) tag rules may use.
      else this.rules.push({ name: rule.name, regex: new RegExp(rule.regex, 'd') })
    }
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
    for (const rule of this.rules) {
      const match = rule.regex.exec(name)
      const cut = match?.indices?.[1]
      if (!match || !cut) continue
      tags.push([rule.name, match[2] ?? match[1]!])
      cuts.push(cut)
    }
    cuts.sort((a, b) => a[0] - b[0])
    let rest = ''
    let from = 0
    for (const [start, end] of cuts) {
      if (start > from) rest += name.slice(from, start)
      if (end > from) from = end
    }
    return { name: rest + name.slice(from), tags: [...tags, ...this.fixed] }
  }
}
