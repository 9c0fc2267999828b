// Builds Istio's own discovery server for test/interop/istiod.test.ts into .istiod/discovery. Needs Go and the Go module
// proxy; the first build compiles Istio and Kubernetes' client and takes many minutes.
// usage: node scripts/build-istiod.mjs
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const source = fileURLToPath(new URL('../test/interop/istiod', import.meta.url))
const binary = fileURLToPath(new URL('../.istiod/discovery', import.meta.url))
const { status, error } = spawnSync('go', ['build', '-buildvcs=false', '-ldflags=-s -w', '-o', binary, '.'], {
  cwd: source,
  stdio: 'inherit',
})
if (error) {
  console.error(`build-istiod: cannot run go: ${error.message}`)
  process.exit(1)
}
if (status === 0) console.log(`built ${binary}`)
process.exit(status ?? 1)
