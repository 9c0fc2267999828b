// Paths under every normalisation setting, as Envoy forwards, redirects or refuses them.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { normalized, normalizePath, PathAction, type PathOptions } from '../../../src/proxy/http/path.ts'
import type { Difference, Suite } from '../suite.ts'

interface Mode {
  readonly normalize_path?: boolean
  readonly merge_slashes?: boolean
  readonly path_with_escaped_slashes_action?: PathOptions['escapedSlashes']
}

interface Case {
  readonly id: string
  readonly mode: string
  readonly path: string
  readonly stripFragment?: boolean
  readonly expect: {
    readonly status: number
    readonly upstreamPath?: string
    readonly location?: string
    readonly details?: string
  }
}

interface File {
  readonly modes: Record<string, Mode>
  readonly cases: readonly Case[]
}

function decide({ path, stripFragment, expect }: Case, mode: Mode): string | null {
  const action = normalizePath(path, {
    normalize: mode.normalize_path ?? false,
    mergeSlashes: mode.merge_slashes ?? false,
    escapedSlashes: mode.path_with_escaped_slashes_action ?? 'KEEP_UNCHANGED',
    rejectFragment: stripFragment !== true,
  })
  const got =
    action === PathAction.Reject
      ? '400'
      : action === PathAction.Redirect
        ? `307 to ${normalized.path}`
        : `forwarded as ${normalized.path}`
  const want =
    expect.status === 400
      ? '400'
      : expect.status === 307
        ? `307 to ${expect.location}`
        : `forwarded as ${expect.upstreamPath}`
  return got === want ? null : `${got}; Envoy: ${want}`
}

export const suite: Suite = {
  name: 'path-normalization',
  async run(dataDirectory) {
    const text = await readFile(join(dataDirectory, 'conformance/path-normalization.json'), 'utf8')
    const file = JSON.parse(text) as File
    const differences: Difference[] = []
    for (const test of file.cases) {
      const message = decide(test, file.modes[test.mode]!)
      if (message !== null) differences.push({ id: test.id, message })
    }
    return { total: file.cases.length, differences }
  },
}
