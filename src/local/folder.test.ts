import assert from 'node:assert/strict'
import { closeSync, mkdirSync, mkdtempSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { readFileOrFolder, readFolder, watchFolder } from './folder.ts'
import type { FolderFile } from './folder-source.ts'

let dir: string
let file: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'folder-'))
  file = join(dir, 'a.yaml')
  writeFileSync(file, 'one')
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

/** Watches the folder; `next` resolves with the next report. */
function watching() {
  const reports: FolderFile[][] = []
  let wake: () => void = () => {}
  const watcher = watchFolder(dir, readFolder(dir), (files) => {
    reports.push(files)
    wake()
  })
  const next = async () => {
    while (reports.length === 0) await new Promise<void>((resolve) => (wake = resolve))
    return reports.shift()!
  }
  return { next, reports, watcher }
}

test('only manifests directly in the folder are read', () => {
  mkdirSync(join(dir, 'more.yaml'))
  for (const name of ['b.json', '.hidden.yaml', 'c.txt', 'd.yaml~']) writeFileSync(join(dir, name), 'x')
  assert.deepEqual(
    readFolder(dir).map((f) => f.file.slice(dir.length + 1)),
    ['a.yaml', 'b.json'],
  )
  assert.deepEqual(readFileOrFolder(file), [{ file, text: 'one' }])
  assert.throws(() => readFolder(file), /is a file; give the folder/)
  assert.throws(() => readFolder(join(dir, 'none')), /no such file/)
})

test('a saved, an added and a removed file are reported', async () => {
  const { next, watcher } = watching()
  writeFileSync(file, 'two')
  assert.deepEqual(await next(), [{ file, text: 'two' }])
  writeFileSync(join(dir, 'b.yaml'), 'new')
  assert.deepEqual(await next(), [{ file: join(dir, 'b.yaml'), text: 'new' }])
  rmSync(file)
  assert.deepEqual(await next(), [{ file, text: undefined }])
  watcher.close()
})

test('a file that is empty for a moment while it is saved is not taken for emptied', async () => {
  const { next, reports, watcher } = watching()
  const open = openSync(file, 'w') // empties it
  await new Promise((resolve) => setTimeout(resolve, 30))
  writeSync(open, 'two')
  closeSync(open)
  assert.deepEqual(await next(), [{ file, text: 'two' }])
  assert.deepEqual(reports, [])
  watcher.close()
})

test('an editor that renames a new file into place is one change', async () => {
  const { next, watcher } = watching()
  writeFileSync(join(dir, '.a.yaml.tmp'), 'two')
  renameSync(join(dir, '.a.yaml.tmp'), file)
  assert.deepEqual(await next(), [{ file, text: 'two' }])
  watcher.close()
})
