import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { createLogger } from '../base/logger.ts'
import { findCredentialSocket } from './credential-socket.ts'

const log = createLogger('test', 'off')

function folder(t: TestContext): { workdir: string; path: string } {
  const workdir = mkdtempSync(join(tmpdir(), 'agent-'))
  const path = join(workdir, 'var/run/secrets/credential-uds/socket')
  mkdirSync(dirname(path), { recursive: true })
  t.after(() => rmSync(workdir, { recursive: true }))
  return { workdir, path }
}

test('a credential socket that is served is found', async (t) => {
  const { workdir, path } = folder(t)
  assert.equal(await findCredentialSocket(workdir, log), false)
  const server = new Server()
  await new Promise<void>((resolve, reject) => {
    const done = (error: Error | null) => (error ? reject(error) : resolve())
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), done)
  })
  t.after(() => server.forceShutdown())
  assert.equal(await findCredentialSocket(workdir, log), true)
})

test('one that nobody serves is removed; a file is none', async (t) => {
  const { workdir, path } = folder(t)
  writeFileSync(path, '')
  assert.equal(await findCredentialSocket(workdir, log), false)
  assert.equal(existsSync(path), true)
  rmSync(path)
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => server.close())
  assert.equal(await findCredentialSocket(workdir, log), false)
  assert.equal(existsSync(path), false)
})
