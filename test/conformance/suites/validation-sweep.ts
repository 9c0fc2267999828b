import { readFileSync } from 'node:fs'
import { parseMeshConfig, parseResource } from '../../../src/config/index.ts'
import { untranslated } from '../../../src/pilot/index.ts'
import type { Difference, Suite } from '../suite.ts'
import { RANDOM_RECORDED, RECORDED, type Verdict, validationCases } from '../validation/cases.ts'
import { RANDOM_CASES, randomCase } from '../validation/random-cases.ts'

/** Resources with one thing changed, or several at random, judged by Istio's CRDs and istiod's webhook: refused, warned of or taken. */
export const suite: Suite = {
  name: 'validation-sweep',
  run: async () => {
    const verdicts = { ...recorded(RECORDED), ...recorded(RANDOM_RECORDED) }
    const random = Array.from({ length: RANDOM_CASES }, (_, number) => randomCase(number))
    const cases = [...validationCases(), ...random]
    const differences: Difference[] = []
    for (const { id, kind, object } of cases) {
      const wanted = verdicts[id]
      if (!wanted) throw new Error(`${id} is not recorded: see test/conformance/validation/record.ts`)
      const [outcome, text = ''] = wanted
      const [got, said] = kind === 'MeshConfig' ? judgeMesh(object) : judge(object)
      const want = outcome === 'schema' ? 'refused' : outcome
      if (got !== want)
        differences.push({ id: `${want}->${got} ${id}`, message: `${got} (${said}), want ${outcome} (${text})` })
    }
    return { total: cases.length, differences }
  },
}

function recorded(file: string): Record<string, Verdict> {
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, Verdict>
}

/** What istiod warns of is in its log alone. */
function judgeMesh(object: object): Verdict {
  const result = parseMeshConfig((object as { readonly spec: unknown }).spec)
  if (result.ok) return ['taken']
  return ['refused', result.problems.map((p) => `${p.path}: ${p.message}`).join('; ')]
}

function judge(object: object): Verdict {
  const result = parseResource(object)
  const problems = result.ok ? [...result.value.warnings] : [...result.problems]
  // What patches hold is read by the control plane.
  if (result.ok && result.value.kind === 'EnvoyFilter') problems.push(...untranslated(result.value))
  const said = problems.map((p) => `${p.path}: ${p.message}`).join('; ')
  if (problems.some(({ level }) => level === 'error')) return ['refused', said]
  return problems.length > 0 ? ['warned', said] : ['taken']
}
