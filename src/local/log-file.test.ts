import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after, test } from 'node:test'
import { followFile, tailOffset } from './log-file.ts'

const dir = mkdtempSync(join(tmpdir(), 'log-'))
const file = join(dir, 'a.log')
after(() => rmSync(dir, { recursive: true }))

test('the last lines begin where they should', async () => {
  writeFileSync(file, 'one\ntwo\nthree\n')
  assert.equal(await tailOffset(file, 1), 8)
  assert.equal(await tailOffset(file, 2), 4)
  assert.equal(await tailOffset(file, 9), 0)
  assert.equal(await tailOffset(file, 0), 14)
  writeFileSync(file, 'one\ntwo')
  assert.equal(await tailOffset(file, 1), 4)
})

test('lines longer than a block are found', async () => {
  writeFileSync(file, `first\n${'x'.repeat(200_000)}\nlast\n`)
  assert.equal(await tailOffset(file, 2), 6)
})

test('following gives what is there, what is added, and what comes after a rotation', async () => {
  writeFileSync(file, 'a\n')
  const out = new PassThrough()
  followFile(file, 0, out)
  let text = ''
  const until = (wanted: string) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!text.includes(wanted)) return
        out.off('data', check)
        resolve()
      }
      out.on('data', check)
      check()
    })
  out.on('data', (chunk) => (text += chunk))
  await until('a\n')
  appendFileSync(file, 'bb\n')
  await until('bb\n')
  truncateSync(file)
  appendFileSync(file, 'c\n')
  await until('c\n')
  assert.equal(text, 'a\nbb\nc\n')
  out.destroy()
})
