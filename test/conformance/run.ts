// npm run conformance -- [-v] [--data DIR] [suite …]: recorded cases of real Istio and Envoy against our own code.
import { existsSync, readdirSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { errorText } from '../../src/base/errors.ts'
import { readExplanations } from './explained.ts'
import type { Suite, SuiteResult } from './suite.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { data: { type: 'string' }, verbose: { type: 'boolean', short: 'v' } },
})
const root = new URL('../../', import.meta.url)
const data = values.data ?? new URL('../shared', root).pathname
const explanations = readExplanations(new URL('docs/differences.md', root))

if (!existsSync(data)) {
  console.log(`skipped: no recorded data at ${data} (give its folder with --data)`)
  process.exit(0)
}

const suites = await loadSuites()
const recorded = readdirSync(new URL('conformance/', pathToFileURL(`${data}/`)))
const notBuilt = recorded
  .filter((file) => file.endsWith('.json') && !suites.some((suite) => `${suite.name}.json` === file))
  .map((file) => file.slice(0, -'.json'.length))
for (const name of positionals) {
  if (notBuilt.includes(name) || suites.some((suite) => suite.name === name)) continue
  console.error(`error: no suite "${name}"; there are ${[...suites.map((s) => s.name), ...notBuilt].join(', ')}`)
  process.exit(64)
}

const chosen = (name: string): boolean => positionals.length === 0 || positionals.includes(name)
let failed = 0
const waiting = suites.filter((suite) => chosen(suite.name))
// Some suites compute in this process and some wait for others: side by side they take the time of the longer kind.
const worker = async (): Promise<void> => {
  for (let suite = waiting.shift(); suite; suite = waiting.shift()) {
    const differences = await runSuite(suite)
    failed += differences
  }
}
await Promise.all([worker(), worker()])
for (const name of notBuilt) if (chosen(name)) console.log(`${name}: not built yet`)
process.exit(failed > 0 ? 1 : 0)

/** Every file of suites/ exports one `suite`; by name. */
async function loadSuites(): Promise<readonly Suite[]> {
  const folder = new URL('suites/', import.meta.url)
  const files = readdirSync(folder).filter((file) => file.endsWith('.ts'))
  const modules = await Promise.all(
    files.map((file) => import(new URL(file, folder).href) as Promise<{ readonly suite: Suite }>),
  )
  return modules.map((module) => module.suite).sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Runs and prints one suite; the number of cases that differ without an explanation. */
async function runSuite(suite: Suite): Promise<number> {
  let result: SuiteResult
  try {
    result = await suite.run(data)
  } catch (error) {
    console.log(`${suite.name}: failed to run: ${errorText(error)}`)
    if (values.verbose) console.log(error)
    return 1
  }
  if (result.note) {
    console.log(`${suite.name}: ${result.note}`)
    return 0
  }
  const explained = new Map<string, number>()
  const unexplained = result.differences.filter((difference) => {
    const explanation = explanations.find((e) => e.matches(suite.name, difference.id))
    if (explanation) explained.set(explanation.id, (explained.get(explanation.id) ?? 0) + 1)
    return !explanation
  })
  const notes = [...explained].map(([id, count]) => `${count} by ${id}`).join(', ')
  console.log(
    `${suite.name}: passed ${result.total - result.differences.length} of ${result.total}${notes ? ` (explained: ${notes})` : ''}`,
  )
  for (const difference of unexplained) {
    console.log(`  differs: ${difference.id}`)
    const lines = difference.message.split('\n')
    for (const line of values.verbose ? lines : lines.slice(0, 1)) console.log(`    ${line}`)
  }
  return unexplained.length
}
