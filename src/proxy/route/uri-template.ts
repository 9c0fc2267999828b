// uri_template paths, `/a/{name}/{rest=**}.m3u8`, expressed as a regex and RE2 substitution: one matching engine is enough.

import { ConfigError } from '../../base/errors.ts'

/** A template as a regex for the whole path; `variables` in the order of its groups. */
export interface TemplateRegex {
  readonly regex: string
  readonly variables: readonly string[]
}

/** What wildcards stand for: characters of a path segment (RFC 3986 §3.3), a percent sign whatever comes after it. */
const SEGMENT = "[-._~0-9A-Za-z%!$&'()*+,;:@=]"
const ANY_SEGMENTS = "[-._~0-9A-Za-z%!$&'()*+,;:@=/]"

/** Most variables a template may have (Envoy's limit). */
const MAX_VARIABLES = 5

/** Throws ConfigError for a template that Envoy's grammar refuses. */
export function templateRegex(template: string, path: string): TemplateRegex {
  if (!template.startsWith('/'))
    throw new ConfigError(path, `Invalid path template: ${template} does not start with '/'`)
  const variables: string[] = []
  let regex = ''
  let at = 0
  let last = false
  while (at < template.length) {
    if (last && template[at] === '/')
      throw new ConfigError(path, `Invalid path template: "**" must be the last segment`)
    if (template.startsWith('**', at)) {
      regex += `${ANY_SEGMENTS}*`
      at += 2
      last = true
    } else if (template[at] === '*') {
      regex += `${SEGMENT}+`
      at++
    } else if (template[at] === '{') {
      const close = template.indexOf('}', at)
      if (close < 0) throw new ConfigError(path, `Invalid path template: no "}" after ${template.slice(at)}`)
      const variable = parseVariable(template.slice(at + 1, close), path)
      if (variables.includes(variable.name)) throw new ConfigError(path, `Repeated variable name: ${variable.name}`)
      variables.push(variable.name)
      if (variables.length > MAX_VARIABLES)
        throw new ConfigError(path, `Exceeded variable count limit of ${MAX_VARIABLES}`)
      regex += `(${variable.regex})`
      last ||= variable.multi
      at = close + 1
    } else {
      const next = template.slice(at + 1).search(/[*{]/)
      const end = next < 0 ? template.length : at + 1 + next
      regex += escapeRegex(template.slice(at, end))
      at = end
    }
  }
  return { regex, variables }
}

function parseVariable(text: string, path: string): { name: string; regex: string; multi: boolean } {
  const [name = '', pattern = '*'] = text.split('=', 2)
  if (!/^[A-Za-z][A-Za-z0-9_]{0,15}$/.test(name)) throw new ConfigError(path, `Invalid variable name: "${name}"`)
  const segments = pattern.split('/').map((segment) => {
    if (segment === '*') return `${SEGMENT}+`
    if (segment === '**') return `${ANY_SEGMENTS}*`
    return escapeRegex(segment)
  })
  return { name, regex: segments.join('/'), multi: pattern.includes('**') }
}

/** The rewrite `/{b}/{a}` as RE2 substitution over `match`. Throws ConfigError for an unknown variable. */
export function templateSubstitution(rewrite: string, match: TemplateRegex, path: string): string {
  return rewrite.replaceAll('\\', '\\\\').replace(/\{([^}]*)\}/g, (_, name: string) => {
    const group = match.variables.indexOf(name)
    if (group < 0)
      throw new ConfigError(path, `mismatch between variables in path_match_policy and path_rewrite_policy: ${name}`)
    return `\\${group + 1}`
  })
}

function escapeRegex(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, '\\$&')
}

/** The regex of a template whose variables do not matter. Throws ConfigError for a bad template. */
export function uriTemplateRegex(template: string, path: string): string {
  return templateRegex(template, path).regex
}
