// Runs real istioctl (.istiod/istioctl, built by scripts/build-istiod.mjs; or $OUTRIGGER_TEST_ISTIOCTL).
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PROGRAM =
  process.env.OUTRIGGER_TEST_ISTIOCTL ?? fileURLToPath(new URL('../../../.istiod/istioctl', import.meta.url))
const TIMEOUT_MS = 60_000

export interface Said {
  readonly exit: number | null
  readonly stdout: string
  readonly stderr: string
}

/** What istioctl says with this kubeconfig. */
export async function istioctl(kubeconfig: string, args: readonly string[]): Promise<Said> {
  const folder = mkdtempSync(join(tmpdir(), 'istioctl-'))
  const file = join(folder, 'kubeconfig')
  writeFileSync(file, kubeconfig)
  try {
    return await run(args, {
      ...process.env,
      KUBECONFIG: file,
      // The API of the recordings forwards ports over SPDY alone.
      KUBECTL_PORT_FORWARD_WEBSOCKETS: 'false',
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Said> {
  return new Promise((resolve, reject) => {
    const child = spawn(PROGRAM, args, { env, timeout: TIMEOUT_MS, stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr += chunk))
    child.on('error', (error) => reject(new Error(`${PROGRAM}: ${error.message}`, { cause: error })))
    child.on('close', (exit) => resolve({ exit, stdout, stderr }))
  })
}
