import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

// Plain JavaScript without types, for any Node runs the launcher.
const { describeInputs, INPUTS_FILE, isBuiltFresh } = await import(new URL('../../bin/built.js', import.meta.url).href)

describe('whether dist/ may stand for the sources', () => {
  let root: string
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'built-'))
    for (const dir of ['src', 'dist']) mkdirSync(join(root, dir))
    writeFileSync(join(root, 'src/a.ts'), 'export const a = 1')
    writeFileSync(join(root, 'src/b.ts'), 'export const b = 2')
  })
  afterEach(() => rmSync(root, { recursive: true }))
  const build = () =>
    writeFileSync(join(root, INPUTS_FILE), JSON.stringify(describeInputs(root, ['src/a.ts', 'src/b.ts'])))

  it('may not before the first build', () => assert.equal(isBuiltFresh(root), false))

  it('may after a build', () => {
    build()
    assert.equal(isBuiltFresh(root), true)
  })

  it('may not once a file has another text, another time or is gone', () => {
    build()
    writeFileSync(join(root, 'src/a.ts'), 'export const a = 10')
    assert.equal(isBuiltFresh(root), false)
    build()
    utimesSync(join(root, 'src/b.ts'), 1, 1)
    assert.equal(isBuiltFresh(root), false)
    build()
    rmSync(join(root, 'src/b.ts'))
    assert.equal(isBuiltFresh(root), false)
  })

  it('may not while the note is half written', () => {
    writeFileSync(join(root, INPUTS_FILE), '[["src/a.ts",')
    assert.equal(isBuiltFresh(root), false)
  })
})
