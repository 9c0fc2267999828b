import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'

const PATIENCE_MS = 15_000

/** `outrigger down`: ends the running mesh and waits until nothing of it is left. */
export function register(program: Command): void {
  program
    .command('down')
    .description('end the mesh that runs on this machine')
    .action(async () => {
      const { removeMeshFiles, runningMesh, stateDir } = await import('../../local/index.ts')
      const state = stateDir()
      const mesh = runningMesh(state)
      if (!mesh) {
        removeMeshFiles(state)
        console.log('no mesh is running')
        return
      }
      signal(mesh.pid, 'SIGTERM')
      const deadline = Date.now() + PATIENCE_MS
      while (runningMesh(state) || isAlive(mesh.pid)) {
        if (Date.now() > deadline) {
          // The node is the first process of its PID namespace: the kernel ends everything in it along with it.
          signal(mesh.nodePid, 'SIGKILL')
          signal(mesh.pid, 'SIGKILL')
        }
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      removeMeshFiles(state)
      console.log('mesh ended')
    })
}

/** A supervisor that ended is gone, also while its parent has not asked for its exit code. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EPERM') throw new UserError('the mesh belongs to root; run: sudo outrigger down')
    if (code !== 'ESRCH') throw error // already gone is what we want
  }
}
