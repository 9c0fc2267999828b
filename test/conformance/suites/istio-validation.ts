import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { parseResource } from '../../../src/config/index.ts'
import type { Difference, Suite } from '../suite.ts'

interface Case {
  readonly id: string
  readonly doc: string
  readonly accept: boolean
  readonly crdMessage: string | null
}

/** Objects that an API server with Istio's CRDs accepts or refuses. */
export const suite: Suite = {
  name: 'istio-validation',
  run: async (dataDirectory) => {
    const file = join(dataDirectory, 'conformance', 'istio-validation.json')
    const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: readonly Case[] }
    const differences: Difference[] = []
    for (const { id, doc, accept, crdMessage } of cases) {
      const result = parseResource(parse(doc))
      if (result.ok === accept) continue
      const got = result.ok ? 'accepted' : result.problems.map((p) => `${p.path}: ${p.message}`).join('; ')
      differences.push({ id, message: `got ${got}, want ${accept ? 'accepted' : crdMessage}` })
    }
    return { total: cases.length, differences }
  },
}
