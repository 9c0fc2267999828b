// CEL over what matchers and RBAC know of a stream.

import { type CelTreeData, compileCelTree } from '../observe/cel-tree.ts'
import type { MatchFacts } from './inputs.ts'

export function compileCelTest(data: CelTreeData): (facts: MatchFacts) => boolean {
  const test = compileCelTree(data)
  return (facts) =>
    test({
      info: facts.stream,
      requestHeaders: facts.headers,
      responseHeaders: null,
      responseTrailers: null,
      localReplyBody: '',
      type: 'NotSet',
    })
}
