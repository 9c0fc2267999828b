import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { VERSION } from '../base/version.ts'

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url))

function run(args: readonly string[], stdout: 'pipe' | number = 'pipe') {
  // A home without a mesh.
  const env = { ...process.env, OUTRIGGER_HOME: '/nonexistent' }
  const {
    status,
    stdout: out,
    stderr,
  } = spawnSync(process.execPath, [MAIN, ...args], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', stdout, 'pipe'],
  })
  return { status, stdout: out, stderr }
}

test('--version prints the version', () => {
  assert.deepEqual(run(['--version']), { status: 0, stdout: `${VERSION}\n`, stderr: '' })
})

test('wrong use ends with 64, with 1 where something is left out, and says how to see the usage', () => {
  for (const [args, code, message] of [
    [['nope'], 64, "error: unknown command 'nope'"],
    [['proxy-config', 'cluster', '--nope'], 64, "error: unknown option '--nope'"],
    [['exec', 'pod'], 1, "error: missing required argument 'command'"],
  ] as const) {
    const { status, stderr } = run(args)
    assert.equal(status, code)
    assert.equal(stderr, `${message}\n(--help shows the usage)\n`)
  }
})

test('a command of a mesh where none runs says how to start one, with 1', () => {
  const { status, stderr } = run(['proxy-status'])
  assert.equal(status, 1)
  assert.equal(stderr, 'error: no mesh is running here; start one with: outrigger up DIR\n')
})

test('-k=false is -k false, but not behind --', () => {
  assert.equal(run(['analyze', '-k=false']).stderr, run(['analyze', '-k', 'false']).stderr)
  assert.match(run(['analyze', '--', '-k=false']).stderr, /"-k=false" does not exist/)
})

test('output that cannot be written is one line', { skip: !existsSync('/dev/full') && 'needs /dev/full' }, () => {
  const full = openSync('/dev/full', 'w')
  const { status, stderr } = run(['analyze', '--list-analyzers'], full)
  closeSync(full)
  assert.equal(status, 1)
  assert.equal(stderr, 'error: cannot write the output: ENOSPC: no space left on device, write\n')
})
