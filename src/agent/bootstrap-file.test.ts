import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBootstrap } from './bootstrap.ts'
import { bootstrapFile } from './bootstrap-file.ts'
import { readSettings } from './settings.ts'

test('the data plane starts from the bootstrap that is generated, or from the one that ProxyConfig names', (t) => {
  const workdir = mkdtempSync(join(tmpdir(), 'bootstrap-file-'))
  t.after(() => rmSync(workdir, { recursive: true, force: true }))
  const settings = (config: object) =>
    readSettings(
      { role: 'sidecar', proxy: 'envoy', proxyLogLevel: 'warning', workdir, podInfo: join(workdir, 'pod') },
      {
        POD_NAME: 'web-1',
        POD_NAMESPACE: 'default',
        INSTANCE_IP: '10.0.0.1',
        SERVICE_ACCOUNT: 'web',
        PROXY_CONFIG: JSON.stringify(config),
      },
    )
  const generated = settings({})
  const path = bootstrapFile(generated)
  assert.equal(path, join(workdir, 'etc/istio/proxy/envoy-rev.json'))
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), buildBootstrap(generated))

  const own = settings({ customConfigFile: 'mine.yaml' })
  assert.throws(() => bootstrapFile(own), /customConfigFile: ENOENT.*mine\.yaml/)
  writeFileSync(join(workdir, 'mine.yaml'), 'node: {id: own}')
  assert.equal(bootstrapFile(own), join(workdir, 'mine.yaml'))
})
