// Where proxy-config reads from: a file (`-f`, `-` = standard input) or the admin port of a pod.

import { readFileSync } from 'node:fs'
import { errorText, UserError } from '../../base/errors.ts'
import type { MeshAccess, PodRef } from '../access.ts'

export interface SourceOptions {
  readonly file?: string
  readonly namespace: string
  readonly proxyAdminPort: string
}

/** The mesh of this machine; loaded on use, as commands on files need none. */
export async function localAccess(): Promise<MeshAccess> {
  const { LocalAccess } = await import('../local-access.ts')
  return new LocalAccess()
}

/** The text of the file, or of `path` on the pod's admin port. Throws UserError when neither is given or there. */
export async function readAdmin(pod: string | undefined, path: string, options: SourceOptions): Promise<string> {
  if (options.file !== undefined) {
    if (pod !== undefined) throw new UserError('--file and a pod name are mutually exclusive')
    return readFile(options.file)
  }
  if (pod === undefined) throw new UserError('name a pod (NAME or NAME.NAMESPACE), or a file with -f')
  const access = await localAccess()
  return adminRequest(access, await access.findPod(pod, options.namespace), 'GET', path, options)
}

/** One admin request to a pod; other answers than 200 are errors. */
export async function adminRequest(
  access: MeshAccess,
  pod: PodRef,
  method: 'GET' | 'POST',
  path: string,
  options: Pick<SourceOptions, 'proxyAdminPort'>,
): Promise<string> {
  const port = Number(options.proxyAdminPort)
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new UserError(`--proxy-admin-port ${options.proxyAdminPort}: must be a port number`, 64)
  }
  const answer = await access.podRequest(pod, port, method, path)
  if (answer.status !== 200) {
    throw new UserError(
      `${pod.name}.${pod.namespace} answered ${answer.status} to ${method} ${path}: ${answer.body.trim().split('\n')[0]}`,
    )
  }
  return answer.body
}

function readFile(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${errorText(error)}`, 1, { cause: error })
  }
}
