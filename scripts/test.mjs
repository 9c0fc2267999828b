// Runs node:test over the unit tests beside the code, the fuzz tests and the whole-system tests.
// usage: node scripts/test.mjs [unit|fuzz|system|interop|PATH...]   (default: unit, fuzz and system)
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'

const args = process.argv.slice(2)
const flags = args.filter((a) => a.startsWith('-'))
const words = args.filter((a) => !a.startsWith('-'))
const sets = {
  unit: ['src/**/*.test.ts', 'samples/**/*.test.ts'],
  system: ['test/system/**/*.test.ts'],
  interop: ['test/interop/**/*.test.ts'],
  fuzz: ['test/fuzz/**/*.test.ts'],
}
const patterns =
  words.length === 0 ? [...sets.unit, ...sets.fuzz, ...sets.system] : words.flatMap((w) => sets[w] ?? [w])
const files = patterns
  .flatMap((p) => globSync(p))
  .filter((f) => f.endsWith('.test.ts'))
  .sort()
if (files.length === 0) {
  console.error(`test: no test file matches ${patterns.join(' ')}`)
  process.exit(1)
}
// System tests share the machine's two cores and start whole meshes: one file at a time.
const concurrency = words.includes('system') || words.length === 0 ? ['--test-concurrency=2'] : []
const run = spawnSync(process.execPath, ['--test', '--test-timeout=300000', ...concurrency, ...flags, ...files], {
  stdio: 'inherit',
})
process.exit(run.status ?? 1)
