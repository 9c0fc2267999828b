// Builds what the recordings of Istio are made with: its discovery server (.istiod/discovery, also for
// test/interop/istiod.test.ts) and its validators (.istiod/validate). Needs Go and the Go module proxy; the first build
// compiles Istio and Kubernetes' client and takes many minutes.
// usage: node scripts/build-istiod.mjs
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const source = fileURLToPath(new URL('../test/interop/istiod', import.meta.url))
for (const [name, folder] of [
  ['discovery', '.'],
  ['validate', './validate'],
]) {
  const binary = fileURLToPath(new URL(`../.istiod/${name}`, import.meta.url))
  const { status, error } = spawnSync('go', ['build', '-buildvcs=false', '-ldflags=-s -w', '-o', binary, folder], {
    cwd: source,
    stdio: 'inherit',
  })
  if (error) {
    console.error(`build-istiod: cannot run go: ${error.message}`)
    process.exit(1)
  }
  if (status !== 0) process.exit(status ?? 1)
  console.log(`built ${binary}`)
}
