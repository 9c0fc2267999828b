import { readFileSync } from 'node:fs'

/** A difference that docs/differences.md explains: its id and the cases it covers. */
export interface Explanation {
  readonly id: string
  readonly matches: (suite: string, caseId: string) => boolean
}

/**
 * Reads the table rows of docs/differences.md that have the form `| D12 | suite: pattern | … |`. In a pattern `*`
 * stands for any text.
 */
export function readExplanations(file: URL): readonly Explanation[] {
  const rows: Explanation[] = []
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const row = /^\| *(D\d+) *\| *`([\w-]+): *([^`]+)` *\|/.exec(line)
    if (!row) continue
    const [, id, suite, pattern] = row as unknown as [string, string, string, string]
    const parts = pattern.trim().split('*')
    rows.push({ id, matches: (s, caseId) => s === suite && matchesParts(caseId, parts) })
  }
  return rows
}

function matchesParts(text: string, parts: readonly string[]): boolean {
  if (parts.length === 1) return text === parts[0]
  if (!text.startsWith(parts[0]!) || !text.endsWith(parts.at(-1)!)) return false
  let at = parts[0]!.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return at <= text.length - parts.at(-1)!.length
}
