// How a generated module is found at run time. In a checkout it is a file under gen/; the published build puts a table
// of its own in the place of this file (scripts/build.mjs), for there the modules are parts of bundles.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** Full message name → path of its module under gen/. */
export function readModuleIndex(): Record<string, string> {
  return JSON.parse(readFileSync(new URL('./gen/index.json', import.meta.url), 'utf8')) as Record<string, string>
}

/** What the module at `path` under gen/ exports. */
export function loadModule(path: string): Record<string, unknown> {
  return require(`./gen/${path}`) as Record<string, unknown>
}
