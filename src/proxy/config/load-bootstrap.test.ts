import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ConfigError } from '../../base/errors.ts'
import { loadBootstrap } from './load-bootstrap.ts'

test('a bootstrap that cannot be read or parsed is refused with a way out', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'bootstrap-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text)
    return join(dir, name)
  }
  const refused = (path: string, message: RegExp): void => {
    assert.throws(
      () => loadBootstrap({ path, allowUnknownFields: false }),
      (error) => error instanceof ConfigError && message.test(error.message),
      `${path}: ${message}`,
    )
  }
  refused(join(dir, 'none.yaml'), /unable to read file: .*none\.yaml \(ENOENT.*name an existing file with -c/)
  refused(dir, /-c names a file, not a folder/)
  refused(file('a.yaml', 'a: [1\n'), /a\.yaml: .* at line 2, column 1; mend the YAML there/)
  refused(file('a.json', '{"a": 1,}'), /a\.json: .* position 8 .*; mend the JSON there, or call the file \.yaml/)
  refused(file('empty.yaml', ''), /empty\.yaml holds nothing; a bootstrap is an object with fields of envoy\.config/)
  refused(file('list.yaml', '- a'), /holds a list/)
  refused(file('text.json', '"x"'), /holds a string/)
  refused(file('a.pb', 'text'), /is no binary envoy\.config\.bootstrap\.v3\.Bootstrap: .*name files of text \.yaml/)
  refused(file('a.pb_text', ''), /text protobuf is not supported; use \.json, \.yaml or \.pb/)
  // Root reads everything.
  if (process.getuid!() !== 0) {
    const secret = file('secret.yaml', '{}')
    chmodSync(secret, 0)
    refused(secret, /let the user that runs the proxy \(uid \d+\) read it/)
  }
  assert.throws(() => loadBootstrap({ yaml: 'a', allowUnknownFields: false }), /--config-yaml holds a string/)
})
