// MeshConfigs that real istiod was asked about: cases.yaml, one a document, and its answers in recorded.json.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JsonValue } from '@bufbuild/protobuf'

export const RECORDED: string = join(import.meta.dirname, 'recorded.json')

export interface MeshCase {
  /** Its first line's comment, else its text on one line. */
  readonly id: string
  readonly yaml: string
}

/** What istiod makes of a case: the MeshConfig in force, or why it is refused. */
export type MeshAnswer = { readonly mesh: JsonValue } | { readonly error: string }

export function meshCases(): MeshCase[] {
  const text = readFileSync(join(import.meta.dirname, 'cases.yaml'), 'utf8')
  return text.split(/^---$/m).map((document) => {
    const yaml = document.trim()
    return { id: /^# (\S+)/.exec(yaml)?.[1] ?? yaml.replace(/\s+/g, ' '), yaml }
  })
}

/** Every field of Istio's MeshConfig, messages within messages: `name[]` is a list, `name{}` a map. */
export function meshFields(): string[] {
  return readFileSync(join(import.meta.dirname, 'fields.txt'), 'utf8')
    .trim()
    .split('\n')
}
