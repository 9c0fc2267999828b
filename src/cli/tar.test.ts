import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { tarArchive } from './tar.ts'

test('tar lists and unpacks what was put in', () => {
  const long = `${'folder/'.repeat(20)}file`
  const archive = tarArchive(
    [
      { path: 'a/b.txt', content: 'é\n' },
      { path: long, content: Buffer.alloc(600, 'x') },
      { path: 'empty', content: '' },
    ],
    new Date(0),
  )
  assert.deepEqual(execFileSync('tar', ['-tf', '-'], { input: archive, encoding: 'utf8' }).trim().split('\n'), [
    'a/b.txt',
    long,
    'empty',
  ])
  assert.equal(execFileSync('tar', ['-xOf', '-', 'a/b.txt'], { input: archive, encoding: 'utf8' }), 'é\n')
  assert.equal(execFileSync('tar', ['-xOf', '-', long], { input: archive }).length, 600)
  assert.throws(() => tarArchive([{ path: 'x'.repeat(300), content: '' }], new Date(0)), /too long/)
})
