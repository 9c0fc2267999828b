// Records what Istio's CRDs and istiod's webhook say of every case: `node test/conformance/validation/record.ts
// .istiod/validate CRDS`, the program that scripts/build-istiod.mjs builds and Istio's file of CRDs
// (manifests/charts/base/files/crd-all.gen.yaml of the module).
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { RANDOM_RECORDED, RECORDED, type ValidationCase, type Verdict, validationCases } from './cases.ts'
import { RANDOM_CASES, randomCase } from './random-cases.ts'

interface Answer {
  readonly crd?: string
  readonly error?: string
  readonly warning?: string
}

const [, , program = '', crds = ''] = process.argv

record(RECORDED, validationCases())
const random = Array.from({ length: RANDOM_CASES }, (_, number) => randomCase(number))
record(RANDOM_RECORDED, random)

function record(file: string, cases: readonly ValidationCase[]): void {
  const answers = ask(cases)
  const entries = cases.map(({ id }, i) => `${JSON.stringify(id)}: ${JSON.stringify(verdict(answers[i]!))}`)
  writeFileSync(file, `{\n${entries.map((entry) => `  ${entry}`).join(',\n')}\n}\n`)
}

function ask(cases: readonly ValidationCase[]): readonly Answer[] {
  const input = cases.map(({ object }) => `${JSON.stringify(object)}\n`).join('')
  const { stdout } = spawnSync(program, [crds], {
    input,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as readonly Answer[]
}

function verdict({ crd, error, warning }: Answer): Verdict {
  if (crd !== undefined) return ['schema', short(crd)]
  if (error !== undefined) return ['refused', short(error)]
  return warning === undefined ? ['taken'] : ['warned', short(warning)]
}

function short(text: string): string {
  const line = text.replace(/\s+/g, ' ').replace(/^(\d+ errors? occurred: \* |\w+\/x\/default: )/, '')
  return line.length > 120 ? `${line.slice(0, 120)}…` : line
}
