import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { FolderSource } from './folder-source.ts'
import type { StoreEvent } from './store.ts'

const configMap = (name: string, value: string) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\ndata:\n  key: ${value}\n`

function open(t: TestContext, files: Record<string, string>) {
  const dir = mkdtempSync(join(tmpdir(), 'folder-source-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text)
  const problems: string[] = []
  const source = new FolderSource(dir, { onProblem: (message) => problems.push(message) })
  t.after(() => {
    source.stop()
    rmSync(dir, { recursive: true })
  })
  return { dir, source, problems }
}

function nextEvents(source: FolderSource): Promise<readonly StoreEvent[]> {
  return new Promise((resolve) => {
    const end = source.store.watch((events) => {
      end()
      resolve(events)
    })
  })
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}

test('reads every document with its line and puts namespaced objects into default', (t) => {
  const { source } = open(t, {
    'a.yaml': `${configMap('one', 'x')}---\n# a comment\n${configMap('two', 'y')}---\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n`,
    'b.json': JSON.stringify({
      apiVersion: 'v1',
      kind: 'List',
      items: [{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } }],
    }),
    'notes.txt': 'not a manifest',
  })
  const two = source.store.get('ConfigMap', 'default', 'two')
  assert.ok(two)
  assert.deepEqual(source.store.origin(two), { file: 'a.yaml', line: 9 })
  assert.ok(source.store.get('Namespace', undefined, 'shop'))
  assert.ok(source.store.get('Secret', 'default', 's'))
})

test('follows changed, new and removed files', async (t) => {
  const { dir, source } = open(t, { 'a.yaml': configMap('one', 'x') })
  const changed = nextEvents(source)
  writeFileSync(join(dir, 'a.yaml'), configMap('one', 'z'))
  assert.deepEqual(
    (await changed).map((e) => e.type),
    ['modified'],
  )
  const added = nextEvents(source)
  writeFileSync(join(dir, 'c.yaml'), configMap('three', 'x'))
  assert.deepEqual(
    (await added).map((e) => [e.type, e.object.metadata.name]),
    [['added', 'three']],
  )
  const removed = nextEvents(source)
  rmSync(join(dir, 'a.yaml'))
  assert.deepEqual(
    (await removed).map((e) => [e.type, e.object.metadata.name]),
    [['deleted', 'one']],
  )
})

test('a file replaced by renaming is one change, not a removal', async (t) => {
  const { dir, source } = open(t, { 'a.yaml': configMap('one', 'x') })
  const changed = nextEvents(source)
  writeFileSync(join(dir, 'a.yaml.tmp'), configMap('one', 'z'))
  renameSync(join(dir, 'a.yaml.tmp'), join(dir, 'a.yaml'))
  assert.deepEqual(
    (await changed).map((e) => e.type),
    ['modified'],
  )
})

test('an invalid file is named with its line and leaves its last good content', async (t) => {
  const { dir, source, problems } = open(t, { 'a.yaml': configMap('one', 'x') })
  writeFileSync(join(dir, 'a.yaml'), 'apiVersion: v1\nkind: [\n')
  await until(() => problems.length > 0)
  assert.match(problems[0]!, /^a\.yaml:\d+: .*last good content stays$/)
  assert.ok(source.store.get('ConfigMap', 'default', 'one'))
})

test('an object in two files belongs to the first; the second takes over when the first is gone', async (t) => {
  const { dir, source, problems } = open(t, { 'a.yaml': configMap('one', 'a'), 'b.yaml': configMap('one', 'b') })
  const value = () => (source.store.get('ConfigMap', 'default', 'one') as unknown as { data: { key: string } }).data.key
  assert.equal(value(), 'a')
  assert.match(problems[0]!, /already in a\.yaml/)
  const events = nextEvents(source)
  rmSync(join(dir, 'a.yaml'))
  await events
  assert.equal(value(), 'b')
})

test('files in new folders count', async (t) => {
  const { dir, source } = open(t, {})
  const added = nextEvents(source)
  mkdirSync(join(dir, 'sub'))
  writeFileSync(join(dir, 'sub', 'a.yaml'), configMap('one', 'x'))
  assert.equal((await added)[0]!.object.metadata.name, 'one')
})

test('folders in new folders count, and what is gone with its folder may come again', async (t) => {
  const { dir, source } = open(t, {})
  const added = nextEvents(source)
  mkdirSync(join(dir, 'v1.2', 'deep'), { recursive: true })
  writeFileSync(join(dir, 'v1.2', 'deep', 'a.yaml'), configMap('one', 'x'))
  assert.equal((await added)[0]!.object.metadata.name, 'one')
  const removed = nextEvents(source)
  rmSync(join(dir, 'v1.2'), { recursive: true })
  assert.equal((await removed)[0]!.type, 'deleted')
  const again = nextEvents(source)
  mkdirSync(join(dir, 'v1.2', 'deep'), { recursive: true })
  writeFileSync(join(dir, 'v1.2', 'deep', 'a.yaml'), configMap('one', 'y'))
  assert.equal((await again)[0]!.type, 'added')
})

test('a mounted ConfigMap shows its next version by swapping a link', async (t) => {
  const { dir, source } = open(t, {})
  const version = (name: string, value: string) => {
    mkdirSync(join(dir, name))
    writeFileSync(join(dir, name, 'a.yaml'), configMap('one', value))
    symlinkSync(name, join(dir, '..data_tmp'))
    renameSync(join(dir, '..data_tmp'), join(dir, '..data'))
  }
  const added = nextEvents(source)
  version('..v1', 'x')
  symlinkSync(join('..data', 'a.yaml'), join(dir, 'a.yaml'))
  assert.equal((await added)[0]!.type, 'added')
  const changed = nextEvents(source)
  version('..v2', 'y')
  assert.equal((await changed)[0]!.type, 'modified')
})

test('what is not a folder is refused by name', () => {
  assert.throws(() => new FolderSource('/does/not/exist', { onProblem: () => {} }), /\/does\/not\/exist: .*ENOENT/)
})
