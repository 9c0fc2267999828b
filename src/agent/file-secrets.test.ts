import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLogger } from '../base/logger.ts'
import type { SecretValue } from '../proxy/index.ts'
import { secretFiles, watchSecretFiles } from './file-secrets.ts'

const log = createLogger('test', 'off')

test('names of secrets tell their files', () => {
  assert.deepEqual(secretFiles('file-cert:/c.pem~/k.pem'), [
    ['certificateChain', '/c.pem'],
    ['privateKey', '/k.pem'],
  ])
  assert.deepEqual(secretFiles('file-root:/ca.pem'), [['trustedCa', '/ca.pem']])
  for (const name of [
    'default',
    'ROOTCA',
    'file-cert:/c.pem',
    'file-cert:/c.pem~',
    'file-root:',
    'file-root:/a~/b',
    'x',
  ])
    assert.equal(secretFiles(name), null, name)
})

test('the authorities of the system are the first file that exists', () => {
  const alpine = '/etc/ssl/cert.pem'
  assert.deepEqual(
    secretFiles('file-root:system', (path) => path === alpine),
    [['trustedCa', alpine]],
  )
})

test('files are waited for, followed when they are replaced, and kept when they go away', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'file-secrets-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const folder = join(dir, 'certs')
  const [chain, key] = [join(folder, 'c.pem'), join(folder, 'k.pem')]
  const seen: SecretValue[] = []
  const end = watchSecretFiles(`file-cert:${chain}~${key}`, (secret) => seen.push(secret), log)
  assert.ok(end)
  t.after(end)
  const until = async (count: number): Promise<void> => {
    for (let i = 0; seen.length < count; i++) {
      assert.ok(i < 1000, `${count} values`)
      await sleep(10)
    }
  }
  // Neither the folder is there nor, at first, the whole pair.
  mkdirSync(folder)
  writeFileSync(chain, 'chain 1')
  writeFileSync(key, 'key 1')
  await until(1)
  writeFileSync(join(folder, 'next'), 'chain 2')
  renameSync(join(folder, 'next'), chain)
  await until(2)
  assert.deepEqual(seen, [
    { certificateChain: 'chain 1', privateKey: 'key 1' },
    { certificateChain: 'chain 2', privateKey: 'key 1' },
  ])
  rmSync(key)
  writeFileSync(chain, 'chain 3')
  writeFileSync(key, 'key 3')
  await until(3)
  assert.deepEqual(seen.at(-1), { certificateChain: 'chain 3', privateKey: 'key 3' })
})
