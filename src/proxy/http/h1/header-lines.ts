// The header lines of a complete head, from its bytes: lines that came before are recognised, others are parsed.

import { detached, latin1 } from '../../../base/bytes.ts'
import type { CodecError } from '../codec.ts'
import type { HeaderMap } from '../header-map.ts'
import { type HeadLimits, type HeadScanner, parseHeaderLines } from './head.ts'
import { knownLines } from './known-lines.ts'

const CR = 13
const SPACE = 32
const TAB = 9

/** What must not outlive its connection. */
const SECRET = new Set(['authorization', 'proxy-authorization', 'cookie', 'set-cookie'])

/**
 * Reads the header lines of the head that `scanner` found into `headers`. Null, or what is wrong. Exactly what
 * parseHeaderLines makes of them: a line is only recognised when it was parsed before, by itself.
 */
export function readHeaderLines(
  scanner: HeadScanner,
  headers: HeaderMap,
  limits: HeadLimits,
  joined: ReadonlySet<string>,
): CodecError | null {
  const { buffer, lineEnds, lineCount, lines } = scanner
  // Folded lines and odd line ends concern more than one line; so do the rarer limits.
  if (lineCount < 0 || limits.keepSpellings || limits.underscores !== 'ALLOW')
    return readAsText(scanner, headers, limits, joined)
  const { list } = headers
  let from = scanner.firstLine + 1
  for (let i = 0; i < lineCount; i++) {
    const lineEnd = lineEnds[i]!
    const known = lines[i]!
    if (known !== null) {
      list.push(known.name, known.value)
      if (i >= limits.maxHeaders) return recount(scanner, headers, limits, joined)
      from = lineEnd + 1
      continue
    }
    const to = lineEnd - 1
    if (to < from || buffer[to] !== CR || buffer[from] === SPACE || buffer[from] === TAB) {
      list.length = 0
      return readAsText(scanner, headers, limits, joined)
    }
    if (to > from) {
      const bad = readLine(buffer, from, lineEnd + 1, headers, limits, joined)
      if (bad) return bad
      if (i >= limits.maxHeaders) return recount(scanner, headers, limits, joined)
    }
    from = lineEnd + 1
  }
  return null
}

function readLine(
  buffer: Buffer,
  from: number,
  to: number,
  headers: HeaderMap,
  limits: HeadLimits,
  joined: ReadonlySet<string>,
): CodecError | null {
  const bad = parseHeaderLines(latin1(buffer, from, to), headers, limits, joined)
  // Looked for again: an earlier line of this head may be the same, and other lines have been looked for since.
  if (bad !== null || knownLines.find(buffer, from, to - 2) !== null || !knownLines.wants(from, to - 2)) return bad
  const { list } = headers
  const name = list[list.length - 2]!
  // A value that is a slice would keep the text of its line.
  if (!SECRET.has(name)) knownLines.keep(buffer, from, to - 2, { name, value: detached(list[list.length - 1]!) })
  return null
}

/** There are more lines than headers allowed: some may be joined to others. */
function recount(
  scanner: HeadScanner,
  headers: HeaderMap,
  limits: HeadLimits,
  joined: ReadonlySet<string>,
): CodecError | null {
  headers.list.length = 0
  return readAsText(scanner, headers, limits, joined)
}

function readAsText(
  scanner: HeadScanner,
  headers: HeaderMap,
  limits: HeadLimits,
  joined: ReadonlySet<string>,
): CodecError | null {
  return parseHeaderLines(latin1(scanner.buffer, scanner.firstLine + 1, scanner.end), headers, limits, joined)
}
