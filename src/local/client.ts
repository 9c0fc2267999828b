import * as http from 'node:http'
import { UserError } from '../base/errors.ts'
import type { ApiOperations, LogRequest } from './api.ts'
import { type ForwardTarget, openForward } from './forward.ts'
import type { ResourceType } from './resource-names.ts'
import { type StateDir, stateDir } from './state-dir.ts'

/** Talks to the running mesh of this user, or of `$OUTRIGGER_HOME`. */
export class LocalClient {
  private readonly state: StateDir

  constructor(state: StateDir = stateDir()) {
    this.state = state
  }

  /** Runs one operation. Throws UserError when no mesh runs, or with the mesh's own reason. */
  async call<K extends keyof ApiOperations>(
    operation: K,
    input: ApiOperations[K]['input'],
  ): Promise<ApiOperations[K]['output']> {
    const response = await this.post(`/v1/${operation}`, input)
    const text = await readText(response)
    if (response.statusCode === 200) return JSON.parse(text) as ApiOperations[K]['output']
    throw errorFrom(text)
  }

  /** Splits `pods/x` or `pods x y` into the type and the names. Throws UserError for an unknown type. */
  async resourceArguments(words: readonly string[]): Promise<{ type: ResourceType; names: string[] }> {
    const [first = '', ...rest] = words
    const slash = first.indexOf('/')
    if (slash >= 0 && rest.length > 0) {
      throw new UserError(`"${first}" already names one resource; leave out "${rest.join(' ')}"`, 64)
    }
    const word = slash < 0 ? first : first.slice(0, slash)
    if (word === '') throw new UserError('name a resource type, for example: pods', 64)
    const type = await this.call('resourceType', { word })
    return { type, names: slash < 0 ? rest : [first.slice(slash + 1)] }
  }

  /** A container's log as a stream. */
  async logs(request: LogRequest): Promise<http.IncomingMessage> {
    const response = await this.post('/v1/logs', request)
    if (response.statusCode === 200) return response
    throw errorFrom(await readText(response))
  }

  /** GET from a port inside the mesh, for example an agent's admin port; resolves with status and body. */
  get(target: ForwardTarget, path: string): Promise<{ status: number; body: string }> {
    return this.request(target, 'GET', path)
  }

  request(
    target: ForwardTarget,
    method: string,
    path: string,
    json?: string,
  ): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const options = {
        method,
        path,
        host: '127.0.0.1',
        headers: { connection: 'close', ...(json === undefined ? {} : { 'content-type': 'application/json' }) },
        createConnection: () => openForward(this.state.forwardSocket, target),
      }
      const request = http.request(options, (response) => {
        readText(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject)
      })
      request.on('error', (error) => reject(notRunning(error) ?? new UserError(`${method} ${path}: ${error.message}`)))
      request.end(json)
    })
  }

  private post(path: string, body: unknown): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = http.request({ socketPath: this.state.apiSocket, method: 'POST', path, agent: false }, resolve)
      request.on('error', (error) => reject(notRunning(error) ?? error))
      request.end(JSON.stringify(body))
    })
  }
}

function notRunning(error: NodeJS.ErrnoException): UserError | undefined {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    return new UserError('no mesh is running here; start one with: outrigger up DIR', 1, { cause: error })
  }
  if (error.code === 'EACCES')
    return new UserError('the mesh belongs to root; run this command with sudo', 1, { cause: error })
  return undefined
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

function errorFrom(text: string): UserError {
  const { message, exitCode } = JSON.parse(text) as { message: string; exitCode: number }
  return new UserError(message, exitCode)
}
