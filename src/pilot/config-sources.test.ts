import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { MemoryStore } from '../cluster/index.ts'
import { defaultMeshConfig } from '../config/index.ts'
import { followConfigSources } from './config-sources.ts'

const KIND = 'ServiceEntry.networking.istio.io'
const entry = (name: string, host: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}}
spec: {hosts: [${host}], resolution: DNS}
---
apiVersion: v1
kind: Service
metadata: {name: ${name}}
`

test('folders of configSources give their Istio resources, and go on doing so', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'config-sources-'))
  const store = new MemoryStore()
  const problems: string[] = []
  store.put([
    {
      object: {
        apiVersion: 'networking.istio.io/v1',
        kind: 'ServiceEntry',
        metadata: { name: 'b', namespace: 'default' },
        spec: { hosts: ['store.example.com'], resolution: 'DNS' },
      },
    },
  ])
  writeFileSync(join(dir, 'a.yaml'), entry('a', 'a.example.com'))
  writeFileSync(join(dir, 'b.yaml'), entry('b', 'b.example.com'))
  const mesh = {
    ...defaultMeshConfig(),
    configSources: [
      { address: `fs://${dir}` },
      { address: 'k8s://' },
      { address: 'xds://a:1' },
      { address: 'fs:///none' },
    ],
  }
  const stop = followConfigSources(mesh, { store, onProblem: (message) => problems.push(message) })
  t.after(() => {
    stop()
    rmSync(dir, { recursive: true })
  })
  const hosts = (): string[] =>
    store.list(KIND).flatMap(({ spec }) => (spec as { readonly hosts: readonly string[] }).hosts)
  assert.deepEqual(hosts().sort(), ['a.example.com', 'store.example.com'], 'what is there already stays')
  assert.deepEqual(store.list('Service'), [], 'other kinds are left to the store')
  assert.match(problems.join('\n'), /b comes from elsewhere.*xds:\/\/a:1.*fs:\/\/\/none/s)
  const changed = new Promise<void>((resolve) => {
    store.watch(() => resolve())
  })
  writeFileSync(join(dir, 'a.yaml'), entry('a', 'new.example.com'))
  await changed
  assert.deepEqual(hosts().sort(), ['new.example.com', 'store.example.com'])
})
