// Runs node:test over the unit tests beside the code, the fuzz tests and the whole-system tests.
// usage: node scripts/test.mjs [unit|fuzz|system|interop|tasks|PATH...]   (default: unit, fuzz and system)
//   --seed N       interop and fuzz: other generated cases
//   --count N      interop: requests of each differential run, edits of the configuration
//   --minutes N    fuzz: runs that long instead of a fixed number of cases
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'

const args = process.argv.slice(2)

/** Takes `--name value` out of the arguments. */
function option(name) {
  const at = args.indexOf(`--${name}`)
  if (at < 0) return undefined
  const [, value] = args.splice(at, 2)
  if (!/^\d+(\.\d+)?$/.test(value ?? '')) {
    console.error(`test: --${name} needs a number`)
    process.exit(1)
  }
  return value
}
const [seed, count, minutes] = ['seed', 'count', 'minutes'].map(option)
const env = { ...process.env }
if (seed) Object.assign(env, { INTEROP_SEED: seed, FUZZ_SEED: seed })
if (count) Object.assign(env, { INTEROP_REQUESTS: count, INTEROP_EDITS: count })
const fuzzFiles = globSync('test/fuzz/**/*.test.ts').length
if (minutes) env.FUZZ_SECONDS = String(Math.round((Number(minutes) * 60) / fuzzFiles))
// A long run is meant to be long.
const timeoutMs = minutes ? Number(minutes) * 60_000 + 300_000 : count || args.includes('tasks') ? 3_600_000 : 300_000
const flags = args.filter((a) => a.startsWith('-'))
const words = args.filter((a) => !a.startsWith('-'))
const sets = {
  unit: ['src/**/*.test.ts', 'samples/**/*.test.ts'],
  system: ['test/system/**/*.test.ts'],
  interop: ['test/interop/**/*.test.ts'],
  fuzz: ['test/fuzz/**/*.test.ts'],
  tasks: ['test/tasks/**/*.test.ts'],
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
// The runner's own choice is one file fewer than there are cores: on two cores one would stand idle. Interop files wait more
// than they compute.
const cores = availableParallelism()
const concurrency = words.includes('interop') ? cores + 1 : Math.max(2, cores - 1)
const runner = ['--test', `--test-timeout=${timeoutMs}`, `--test-concurrency=${concurrency}`]
const run = spawnSync(process.execPath, [...runner, ...flags, ...files], { stdio: 'inherit', env })
process.exit(run.status ?? 1)
