// What Envoy refuses, we refuse: single edits of a bootstrap that uses every part, loaded by `envoy --mode validate` and by
// our own validation. `npm run interop -- --count N --seed N` takes more edits, or others.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { ConfigError } from '../../../src/base/errors.ts'
import { loadBootstrap, validateProxy } from '../../../src/proxy/index.ts'
import { TestCa } from '../../../src/proxy/network/testing.ts'
import { envoyBinary } from '../harness/proxies.ts'
import { resourceFiles, richBootstrap } from '../harness/rich-bootstrap.ts'
import { applied, type Edit, edits, type Json } from './mutate.ts'

const COUNT = Number(process.env.INTEROP_EDITS ?? 240)
const SEED = Number(process.env.INTEROP_SEED ?? 20260822)
const PARALLEL = 3

/** Edits that one takes and the other does not, by path and value. */
const EXPLAINED: readonly [pattern: RegExp, reason: string][] = [
  [/use_proxy_proto/, 'deprecated and refused here: the proxy_protocol listener filter does it'],
  [/token_bucket/, 'Envoy does not check what is nested in this filter'],
  [/http_filters$|http_filters (undefined|\[\])/, 'a chain without a terminal filter answers nothing'],
  [/ext_authz|http_service|grpc_service/, 'a service that is not named cannot be asked'],
  [/max_direct_response_body_size_bytes/, 'Envoy takes the limit 0 for a body all the same'],
  [/google_re2|safe_regex/, 'the program size is that of another library, with the limit that Istio sets'],
  [/"?x{200,}|\.path\b.*x{200}/, 'names of files too long for the system are found at start'],
  [/typed_config.*(undefined|retry_host_predicate)|retry_host_predicate/, 'predicates are known by their names, too'],
  [
    /resource_api_version|api_type|transport_api_version|config_source/,
    'sources of configuration that are not supported are refused when used',
  ],
]

/** Every `step`-th edit from a place that the seed decides. */
function chosen(all: readonly Edit[]): Edit[] {
  const step = Math.max(1, Math.floor(all.length / COUNT))
  return all.filter((_, i) => i % step === SEED % step)
}

it('takes and refuses edited bootstraps as Envoy does', {
  skip: envoyBinary() ? false : 'real Envoy is not installed',
}, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'refusals-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const ca = new TestCa(t)
  const { cert, key } = ca.issue('DNS:a.example')
  const files = { rds: join(dir, 'rds.json'), eds: join(dir, 'eds.json'), sds: join(dir, 'sds.json') }
  const texts = resourceFiles(9, cert, key)
  for (const name of ['rds', 'eds', 'sds'] as const) writeFileSync(files[name], texts[name])
  const make = richBootstrap({
    upstream: 9,
    upstreamHttp2: 9,
    ca: ca.cert,
    cert,
    key,
    files,
    listeners: [1001, 1002, 1003],
  })
  // Through JSON, as it would be read.
  const base = JSON.parse(
    JSON.stringify(make({ listener: 1000, admin: 1004, accessLog: join(dir, 'access.log') })),
  ) as Json

  /** Why it is refused, or null. */
  const ours = (path: string): string | null => {
    try {
      validateProxy(loadBootstrap({ path, allowUnknownFields: false }))
      return null
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return error.message
    }
  }
  const envoys = (path: string): Promise<string | null> =>
    new Promise((resolve) => {
      const child = spawn('envoy', ['--mode', 'validate', '-l', 'error', '-c', path], {
        cwd: dir,
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      let text = ''
      child.stderr.on('data', (chunk) => (text += chunk))
      child.on('close', (code) => resolve(code === 0 ? null : text.slice(0, 400) || `exit ${code}`))
    })

  const list = chosen(edits(base))
  const differences: string[] = []
  let next = 0
  const worker = async (slot: number): Promise<void> => {
    const path = join(dir, `bootstrap${slot}.json`)
    for (let i = next++; i < list.length; i = next++) {
      const edit = list[i]!
      const what = `${edit.path} ${JSON.stringify(edit.value)?.slice(0, 300)}`
      writeFileSync(path, JSON.stringify(applied(base, edit)))
      const mine = ours(path)
      // What is not built is refused by its path; whether Envoy takes it is its own matter.
      if (mine?.includes('not supported') || EXPLAINED.some(([pattern]) => pattern.test(what))) continue
      const theirs = await envoys(path)
      if ((mine === null) !== (theirs === null)) differences.push(`${what}\n  envoy     ${theirs}\n  outrigger ${mine}`)
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, (_, slot) => worker(slot)))
  assert.equal(ours(join(dir, 'none.json'))?.includes('unable to read file'), true)
  assert.deepEqual(differences, [], `seed ${SEED}: ${differences.length} of ${list.length} differ`)
})
