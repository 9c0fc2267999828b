// URI templates of envoy.path.match.uri_template: `*` is one path segment, `**` any number of them, `{name}` a capture.

import { ConfigError } from '../../base/errors.ts'

const PCHAR = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=]"
const ONE_SEGMENT = `${PCHAR}+`
const ANY_SEGMENTS = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=/]*"

/**
 * The RE2 expression that matches the whole path. Throws ConfigError: the template must start with `/`, a segment is
 * a literal, `*`, `**`, `{name}` or `{name=…}`, and nothing but a literal suffix may follow `**`.
 */
export function uriTemplateRegex(template: string, path: string): string {
  if (!template.startsWith('/')) throw new ConfigError(path, `path template "${template}" must start with /`)
  let regex = ''
  let sawAny = false
  for (const segment of splitSegments(template.slice(1))) {
    regex += '/'
    const capture = /^\{([a-zA-Z_][a-zA-Z0-9_]*)(?:=(.*))?\}$/.exec(segment)
    const pattern = capture ? (capture[2] ?? '*') : segment
    const parts = pattern.split('/').map((part) => {
      if (sawAny && (part === '*' || part === '**')) {
        throw new ConfigError(path, `path template "${template}": no wildcard may follow **`)
      }
      if (part === '**') sawAny = true
      return segmentRegex(part, template, path)
    })
    regex += capture ? `(${parts.join('/')})` : parts.join('/')
  }
  return regex
}

function segmentRegex(segment: string, template: string, path: string): string {
  if (segment === '*') return ONE_SEGMENT
  if (segment === '**') return ANY_SEGMENTS
  if (!/^[a-zA-Z0-9\-._~%!$&'()+,;:@=]*$/.test(segment)) {
    throw new ConfigError(path, `path template "${template}": "${segment}" is no literal, *, ** or {name}`)
  }
  return segment.replace(/[.+()$]/g, '\\$&')
}

/** At `/` outside braces. */
function splitSegments(text: string): string[] {
  const segments: string[] = []
  let depth = 0
  let current = ''
  for (const c of text) {
    if (c === '{') depth++
    else if (c === '}') depth--
    if (c === '/' && depth === 0) {
      segments.push(current)
      current = ''
    } else current += c
  }
  segments.push(current)
  return segments
}
