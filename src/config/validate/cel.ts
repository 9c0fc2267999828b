// CEL expressions. The parser loads on first use: few resources have one.
import { createRequire } from 'node:module'
import { errorText } from '../../base/errors.ts'
import type { Problems } from '../schema.ts'

const require = createRequire(import.meta.url)

export function checkCel(expression: string, path: string, problems: Problems): void {
  try {
    ;(require('@bufbuild/cel') as typeof import('@bufbuild/cel')).parse(expression)
  } catch (error) {
    problems.error(path, `must be a valid CEL expression: ${errorText(error)}`)
  }
}
