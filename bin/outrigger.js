#!/usr/bin/env node
// Launcher: runs src/cli/main.ts (a checkout) or dist/main.js (the published build) on a Node that can.
// Node before 22.18 cannot strip types, so an older one re-executes with the `node` package of this installation.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import * as nodeModule from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const [major, minor] = process.versions.node.split('.').map(Number)

if (major > 22 || (major === 22 && minor >= 18)) {
  nodeModule.enableCompileCache?.()
  // Node writes the cache at exit only; proxies live long and often end by a signal, and the next one starts meanwhile.
  for (const ms of [2_000, 15_000]) setTimeout(() => nodeModule.flushCompileCache?.(), ms).unref()
  const source = join(root, 'src/cli/main.ts')
  const entry = existsSync(source) ? source : join(root, 'dist/main.js')
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
