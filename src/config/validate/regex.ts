import { RE2JS } from 're2js'
import { errorText } from '../../base/errors.ts'
import type { Problems } from '../schema.ts'

/** Envoy runs RE2: what RE2 cannot compile, the proxy would refuse. */
export function checkRegex(pattern: string, path: string, problems: Problems): void {
  try {
    RE2JS.compile(pattern)
  } catch (error) {
    problems.error(path, `"${pattern}" is not a regular expression of RE2: ${errorText(error)}`)
  }
}
