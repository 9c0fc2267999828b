import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { AccessLogFiles } from './access-log-file.ts'
import { StatsStore } from './stats-store.ts'

const LINE_BYTES = 1024
const BOUND_LINES = (8 * 1024 * 1024) / LINE_BYTES

test('a reader that stalls costs no more than the backlog; whole lines are dropped, counted, and later ones written', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-log-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'pipe')
  execFileSync('mkfifo', [path])
  // Opened first, or the writer would wait for it.
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const stats = new StatsStore()
  const files = new AccessLogFiles(10, 65_536, stats)
  const file = files.open(path)
  let written = 0
  const write = (): void => {
    file.beginLine().put(`${String(written++).padEnd(LINE_BYTES - 1, 'x')}\n`)
    file.endLine()
  }
  const dropped = (): number => stats.counter('filesystem.lines_dropped').value
  while (written < BOUND_LINES * 3) write()
  assert.ok(dropped() > BOUND_LINES, `${dropped()} lines dropped`)
  assert.ok(written - dropped() < BOUND_LINES * 1.1)

  let read = ''
  const stream = new Socket({ fd: reader, readable: true, writable: false }).setEncoding('latin1')
  stream.on('data', (chunk: string) => (read += chunk))
  t.after(() => stream.destroy())
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await until(() => read.length === (written - dropped()) * LINE_BYTES)
  const before = dropped()
  write()
  await until(() => read.endsWith(`${String(written - 1).padEnd(LINE_BYTES - 1, 'x')}\n`))
  assert.equal(dropped(), before)
  for (const line of read.split('\n').slice(0, -1)) assert.match(line, /^\d+x+$/)
  await files.close()
})

test('pipes that nobody reads hold up no other file work', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-log-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const stats = new StatsStore()
  const files = new AccessLogFiles(10, 1024, stats)
  // More than libuv has threads.
  for (let i = 0; i < 6; i++) {
    const path = join(folder, `pipe-${i}`)
    execFileSync('mkfifo', [path])
    const file = files.open(path)
    for (let line = 0; line < 200; line++) {
      file.beginLine().put(`${'x'.repeat(1023)}\n`)
      file.endLine()
    }
  }
  await readFile(import.meta.filename)
  await files.close()
})
