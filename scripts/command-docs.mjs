// Writes the `--help` text of every command into its page in docs/commands (between the marks), so that pages and program
// agree. `--check` only compares, for CI.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const root = new URL('../', import.meta.url)
const folder = new URL('docs/commands/', root)
const check = process.argv.includes('--check')
const MARKS = /(<!-- help: ([^>]*?) -->\n)[\s\S]*?(<!-- end -->)/g
let stale = 0

for (const name of readdirSync(folder).filter((file) => file.endsWith('.md'))) {
  const file = new URL(name, folder)
  const page = readFileSync(file, 'utf8')
  const written = page.replace(
    MARKS,
    (_, open, words, close) => `${open}\n\`\`\`\n${help(words.split(' '))}\n\`\`\`\n\n${close}`,
  )
  if (written === page) continue
  stale++
  if (check) console.error(`docs/commands/${name} is not what --help says: run node scripts/command-docs.mjs`)
  else writeFileSync(file, written)
}
process.exitCode = check && stale > 0 ? 1 : 0

/** Help at a fixed width, so that terminals do not matter. */
function help(words) {
  const env = { ...process.env, COLUMNS: '120' }
  return execFileSync(process.execPath, [new URL('bin/outrigger.js', root).pathname, ...words, '--help'], {
    env,
    encoding: 'utf8',
  }).trim()
}
