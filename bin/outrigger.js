#!/usr/bin/env node
// Launcher: runs dist/ in an installed package (under node_modules Node strips no types) and in a checkout where it was
// built from just these sources (`npm install` does), else the sources. OUTRIGGER_DIST=1 asks for dist/, 0 for the
// sources. Node before 22.18 cannot strip types, so an older one re-executes with the `node` package of
// this installation.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import * as nodeModule from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { isBuiltFresh } from './built.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const [major, minor] = process.versions.node.split('.').map(Number)

/**
 * Of data planes, which are many and live long. The young generation keeps its first size: requests leave no garbage that
 * a larger one would spare, and what it has grown to it keeps. Nothing that runs while starting is worth optimising;
 * `releaseStartupMemory` turns the compilers on again. Set here, before anything has grown (docs/performance.md).
 */
const START_FLAGS = ['--semi-space-growth-factor=1', '--no-opt', '--no-maglev']
/**
 * Of control planes: pushes leave much short-lived garbage, and a young generation that grew with it keeps up to 70 MB
 * for good, without making anything faster.
 */
const CONTROL_PLANE_FLAGS = ['--semi-space-growth-factor=1']

function runsBuilt(asked) {
  // A published package has no scripts; the pods of a mesh see it at another place than node_modules.
  const published = root.includes('/node_modules/') || !existsSync(join(root, 'scripts/build.mjs'))
  if (asked === '1' || published) return true
  return asked !== '0' && isBuiltFresh(root)
}

const word = process.argv.slice(2).find((arg) => !arg.startsWith('-'))

if (major > 22 || (major === 22 && minor >= 18)) {
  if (word === 'proxy' || word === 'agent') for (const flag of START_FLAGS) setFlagsFromString(flag)
  if (word === 'pilot') for (const flag of CONTROL_PLANE_FLAGS) setFlagsFromString(flag)
  nodeModule.enableCompileCache?.()
  // Node writes the cache at exit only; proxies live long and often end by a signal, and the next one starts meanwhile.
  for (const ms of [2_000, 15_000]) setTimeout(() => nodeModule.flushCompileCache?.(), ms).unref()
  const entry = join(root, runsBuilt(process.env.OUTRIGGER_DIST) ? 'dist/main.js' : 'src/cli/main.ts')
  await import(pathToFileURL(entry).href)
} else {
  let node
  try {
    node = join(dirname(nodeModule.createRequire(import.meta.url).resolve('node/package.json')), 'bin/node')
  } catch {
    console.error(
      `outrigger needs Node.js 22.18 or newer; this is ${process.version}. Install a newer one, or run: npm install node@24`,
    )
    process.exit(1)
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'])
    process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.error(`outrigger: cannot run ${node}: ${error.message}`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => {
    if (signal) {
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    } else process.exit(code ?? 1)
  })
}
