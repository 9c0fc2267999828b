// stats_config of the bootstrap as plain data, so that every thread can build its matcher from it.

import type { StatsConfig, StatsMatcher } from '../../api/gen/envoy/config/metrics/v3/stats_pb.js'
import type { StringMatcher } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { compileStringMatcher, parseStringMatcher, type StringMatcherData } from '../route/string-matcher.ts'
import { DEFAULT_TAGS } from './default-tags.ts'
import type { StatsFilter } from './stats-store.ts'

/** Upper bounds of the Prometheus and admin histogram buckets, unless histogram_bucket_settings say otherwise. */
export const DEFAULT_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
]

/** A tag: cut out of stat names by `regex` (capture 1 goes, capture 2 or else 1 is the value), or fixed. */
export interface TagRule {
  readonly name: string
  readonly regex: string
  readonly fixedValue: string | null
}

/** stats_config; what a thread needs of it. */
export interface StatsSettings {
  readonly matcher: {
    readonly mode: 'all' | 'none' | 'include' | 'exclude'
    readonly patterns: readonly StringMatcherData[]
  }
  readonly tags: readonly TagRule[]
  readonly buckets: readonly { readonly match: StringMatcherData; readonly bounds: readonly number[] }[]
}

/** Parses stats_config (undefined = defaults). Throws ConfigError with the field path. */
export function parseStatsConfig(config: StatsConfig | undefined, path = 'stats_config'): StatsSettings {
  const matcher = config?.statsMatcher
  return {
    matcher: matcher ? parseMatcher(matcher, `${path}.stats_matcher`) : { mode: 'all', patterns: [] },
    tags: parseTags(config, path),
    buckets: (config?.histogramBucketSettings ?? []).map((setting, i) => {
      const at = `${path}.histogram_bucket_settings[${i}]`
      for (let b = 1; b < setting.buckets.length; b++) {
        if (setting.buckets[b]! <= setting.buckets[b - 1]!) throw new ConfigError(`${at}.buckets`, 'must be ascending')
      }
      return { match: parsePattern(setting.match, `${at}.match`), bounds: [...setting.buckets] }
    }),
  }
}

function parseMatcher(matcher: StatsMatcher, path: string): StatsSettings['matcher'] {
  const chosen = matcher.statsMatcher
  switch (chosen.case) {
    case 'rejectAll':
      return { mode: chosen.value ? 'none' : 'all', patterns: [] }
    case 'exclusionList':
      return {
        mode: 'exclude',
        patterns: chosen.value.patterns.map((p, i) => parsePattern(p, `${path}.exclusion_list.patterns[${i}]`)),
      }
    case 'inclusionList':
      return {
        mode: 'include',
        patterns: chosen.value.patterns.map((p, i) => parsePattern(p, `${path}.inclusion_list.patterns[${i}]`)),
      }
    default:
      throw new ConfigError(path, 'one of reject_all, exclusion_list or inclusion_list is required')
  }
}

function parsePattern(matcher: StringMatcher | undefined, path: string): StringMatcherData {
  if (!matcher) throw new ConfigError(path, 'is required')
  return parseStringMatcher(matcher, path)
}

function parseTags(config: StatsConfig | undefined, path: string): TagRule[] {
  const rules: TagRule[] = []
  if (config?.useAllDefaultTags ?? true) rules.push(...DEFAULT_TAGS)
  for (const [i, tag] of (config?.statsTags ?? []).entries()) {
    const at = `${path}.stats_tags[${i}]`
    if (tag.tagValue.case === 'fixedValue') {
      rules.push({ name: tag.tagName, regex: '', fixedValue: tag.tagValue.value })
      continue
    }
    const regex = tag.tagValue.value ?? ''
    if (regex === '') {
      const known = DEFAULT_TAGS.filter((rule) => rule.name === tag.tagName)
      if (known.length === 0) {
        throw new ConfigError(
          at,
          `No regex specified for tag specifier and no default regex for name: '${tag.tagName}'`,
        )
      }
      for (const rule of known) if (!rules.includes(rule)) rules.push(rule)
      continue
    }
    try {
      new RegExp(regex)
    } catch (error) {
      throw new ConfigError(`${at}.regex`, `is no regular expression: ${regex}`, { cause: error })
    }
    rules.push({ name: tag.tagName, regex, fixedValue: null })
  }
  return rules
}

/** The filter of stats_matcher, for StatsStore. */
export function compileStatsFilter(settings: StatsSettings): StatsFilter {
  const { mode, patterns } = settings.matcher
  if (mode === 'all') return () => true
  if (mode === 'none') return () => false
  const tests = patterns.map(compileStringMatcher)
  const listed = (name: string) => tests.some((test) => test(name))
  return mode === 'include' ? listed : (name) => !listed(name)
}

/** Bucket bounds of a histogram by its full name; the first setting that matches holds. */
export function compileBuckets(settings: StatsSettings): (name: string) => readonly number[] {
  const rules = settings.buckets.map((rule) => ({ test: compileStringMatcher(rule.match), bounds: rule.bounds }))
  return (name) => rules.find((rule) => rule.test(name))?.bounds ?? DEFAULT_BUCKETS
}
