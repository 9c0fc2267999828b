import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { UserError } from '../base/errors.ts'

/**
 * Where one local mesh keeps what outlives a command: `$OUTRIGGER_HOME`, else `~/.outrigger`.
 * `cache` and `ca` stay after `down` (faster start, same root certificate); the rest goes with the mesh.
 */
export interface StateDir {
  readonly root: string
  /** JSON of the running supervisor, see {@link import('./supervisor.ts').SupervisorRecord}. */
  readonly record: string
  /** The API of the embedded cluster. */
  readonly apiSocket: string
  /** Byte streams from the host to a port of the mesh. */
  readonly forwardSocket: string
  readonly logs: string
  /** Output of a detached supervisor and of the node process. */
  readonly supervisorLog: string
  readonly cache: string
  readonly ca: string
}

// sun_path holds 108 bytes with the closing NUL.
const MAX_SOCKET_PATH = 107

export function stateDir(env: NodeJS.ProcessEnv = process.env): StateDir {
  const root = resolve(env.OUTRIGGER_HOME || join(homedir(), '.outrigger'))
  const dir: StateDir = {
    root,
    record: join(root, 'supervisor.json'),
    apiSocket: join(root, 'api.sock'),
    forwardSocket: join(root, 'forward.sock'),
    logs: join(root, 'logs'),
    supervisorLog: join(root, 'supervisor.log'),
    cache: join(root, 'cache'),
    ca: join(root, 'ca'),
  }
  if (Buffer.byteLength(dir.forwardSocket) > MAX_SOCKET_PATH) {
    throw new UserError(
      `OUTRIGGER_HOME: ${root} is too long for the sockets inside it (at most 93 bytes); choose a shorter path`,
    )
  }
  return dir
}
