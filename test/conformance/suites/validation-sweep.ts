import { readFileSync } from 'node:fs'
import { parseMeshConfig, parseResource } from '../../../src/config/index.ts'
import { untranslated } from '../../../src/pilot/index.ts'
import type { Difference, Suite } from '../suite.ts'
import { RECORDED, type Verdict, validationCases } from '../validation/cases.ts'

/** Resources with one thing changed, judged by Istio's CRDs and istiod's webhook: refused, warned of or taken. */
export const suite: Suite = {
  name: 'validation-sweep',
  run: async () => {
    const verdicts = JSON.parse(readFileSync(RECORDED, 'utf8')) as Record<string, Verdict>
    const cases = validationCases()
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
