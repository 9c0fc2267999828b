import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

/** In a process of its own: flags of V8 and the size of the heap are the whole process's. */
const SCRIPT = `
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { growYoungGeneration } from ${JSON.stringify(new URL('./young-generation.ts', import.meta.url).href)}
setFlagsFromString('--semi-space-growth-factor=1')
const size = () => getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_size
const before = size()
growYoungGeneration()
const after = size()
const kept = []
for (let i = 0; i < 1e6; i++) { kept.push([i]) }
console.log(JSON.stringify({ before, after, later: size() }))
`

test('the young generation grows once, and then keeps its size under load', () => {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', SCRIPT], { encoding: 'utf8' })
  const sizes = JSON.parse(stdout || `"${stderr}"`) as { before: number; after: number; later: number }
  assert.ok(sizes.before <= 2 << 20, stdout)
  assert.ok(sizes.after >= 4 << 20, stdout)
  assert.ok(sizes.later <= 8 << 20, stdout)
})
