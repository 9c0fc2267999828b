// Builds what the recordings of Istio are made with: its discovery server (.istiod/discovery, also for
// test/interop/istiod.test.ts), its validators (.istiod/validate) and, when asked for, istioctl of the same version
// (.istiod/istioctl). Needs Go and the Go module proxy; the first build compiles Istio and Kubernetes' client and takes
// many minutes.
// usage: node scripts/build-istiod.mjs [istioctl]
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const source = fileURLToPath(new URL('../test/interop/istiod', import.meta.url))
const binaries = fileURLToPath(new URL('../.istiod', import.meta.url))

if (process.argv[2] === 'istioctl') {
  const [, version] = /istio\.io\/istio (\S+)/.exec(readFileSync(`${source}/go.mod`, 'utf8'))
  go(['install', '-ldflags=-s -w', `istio.io/istio/istioctl/cmd/istioctl@${version}`], { GOBIN: binaries })
  console.log(`built ${binaries}/istioctl`)
} else {
  for (const [name, folder] of [
    ['discovery', '.'],
    ['validate', './validate'],
  ]) {
    go(['build', '-buildvcs=false', '-ldflags=-s -w', '-o', `${binaries}/${name}`, folder])
    console.log(`built ${binaries}/${name}`)
  }
}

/** Runs go; ends this program when it fails. */
function go(args, environment = {}) {
  const { status, error } = spawnSync('go', args, {
    cwd: source,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  })
  if (error) {
    console.error(`build-istiod: cannot run go: ${error.message}`)
    process.exit(1)
  }
  if (status !== 0) process.exit(status ?? 1)
}
