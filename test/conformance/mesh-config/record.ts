// Records what istiod makes of every case: `node test/conformance/mesh-config/record.ts .istiod/discovery`, the program
// that scripts/build-istiod.mjs builds.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type MeshAnswer, meshCases, RECORDED } from './mesh-cases.ts'

const [, , program = ''] = process.argv
const folder = mkdtempSync(join(tmpdir(), 'mesh-config-'))
const file = join(folder, 'case.yaml')
writeFileSync(file, '')
const istiod = spawn(program, ['-input', file], { stdio: ['pipe', 'pipe', 'ignore'] })
const lines = createInterface({ input: istiod.stdout })[Symbol.asyncIterator]()
await lines.next()
const answers: Record<string, MeshAnswer> = {}
for (const { id, yaml } of meshCases()) {
  writeFileSync(file, yaml)
  istiod.stdin.write(`mesh ${file}\n`)
  const { value, done } = await lines.next()
  if (done) throw new Error(`${program} ended at ${id}`)
  answers[id] = value.startsWith('ok ')
    ? { mesh: JSON.parse(value.slice(3)) }
    : { error: value.slice('error '.length).replace(/\s+/g, ' ') }
}
istiod.stdin.end()
rmSync(folder, { recursive: true })
const entries = Object.entries(answers).map(([id, answer]) => `${JSON.stringify(id)}: ${JSON.stringify(answer)}`)
writeFileSync(RECORDED, `{\n${entries.join(',\n')}\n}\n`)
