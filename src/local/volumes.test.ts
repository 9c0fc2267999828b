import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import type { Volume } from './pod-types.ts'
import { podForTest } from './testing.ts'
import { containerMounts, writeVolumes } from './volumes.ts'

let dir: string
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'volumes-'))))
afterEach(() => rmSync(dir, { recursive: true }))

const uid = process.getuid!()
const sources = {
  read: (kind: string, name: string) =>
    name !== 'there'
      ? undefined
      : kind === 'ConfigMap'
        ? { apiVersion: 'v1', kind, metadata: { name }, data: { a: '1', b: '2' } }
        : { apiVersion: 'v1', kind, metadata: { name }, data: { key: Buffer.from('hidden').toString('base64') } },
  signToken: async (audience: string, seconds: number) => `token for ${audience}, ${seconds} s`,
}
async function write(...volumes: Volume[]) {
  const pod = podForTest('p', { app: 'x' }, { ip: '10.244.0.5' })
  pod.spec.volumes = volumes
  return writeVolumes(pod, dir, uid, sources)
}

test('ConfigMaps whole or by item, Secrets decoded and for their user alone', async () => {
  const paths = await write(
    { name: 'all', configMap: { name: 'there' } },
    { name: 'one', configMap: { name: 'there', items: [{ key: 'b', path: 'sub/b.txt' }] } },
    { name: 'secret', secret: { secretName: 'there' } },
  )
  assert.equal(readFileSync(join(paths.get('all')!, 'a'), 'utf8'), '1')
  assert.equal(readFileSync(join(paths.get('one')!, 'sub/b.txt'), 'utf8'), '2')
  const key = join(paths.get('secret')!, 'key')
  assert.equal(readFileSync(key, 'utf8'), 'hidden')
  assert.equal(statSync(key).mode & 0o777, 0o400)
})

test('a projected volume joins token, root certificate and pod fields', async () => {
  const paths = await write({
    name: 'v',
    projected: {
      sources: [
        { serviceAccountToken: { audience: 'istio-ca', expirationSeconds: 43200, path: 'istio-token' } },
        { configMap: { name: 'there', items: [{ key: 'a', path: 'root' }] } },
        { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
      ],
    },
  })
  const read = (file: string) => readFileSync(join(paths.get('v')!, file), 'utf8')
  assert.equal(read('istio-token'), 'token for istio-ca, 43200 s')
  assert.equal(read('root'), '1')
  assert.equal(read('labels'), 'app="x"')
})

test('written again, content is renewed in place', async () => {
  const volume = { name: 'secret', secret: { secretName: 'there' } }
  await write(volume)
  await write(volume)
})

test('what is missing is said, unless optional', async () => {
  await assert.rejects(write({ name: 'v', configMap: { name: 'gone' } }), /configmap "gone" not found/)
  await assert.rejects(write({ name: 'v', hostPath: { path: '/none/such' } }), /hostPath \/none\/such does not exist/)
  await write({ name: 'v', configMap: { name: 'gone', optional: true } })
})

test('paths cannot leave the volume', async () => {
  const paths = await write({ name: 'v', configMap: { name: 'there', items: [{ key: 'a', path: '../../up' }] } })
  assert.equal(readFileSync(join(paths.get('v')!, 'up'), 'utf8'), '1')
})

test('a mount names a volume of the pod', () => {
  const container = { name: 'c', volumeMounts: [{ name: 'v', mountPath: '/data', readOnly: true, subPath: 'x' }] }
  assert.deepEqual(containerMounts(container, new Map([['v', '/vol']])), [
    { source: '/vol/x', target: '/data', readOnly: true },
  ])
  assert.throws(() => containerMounts(container, new Map()), /the pod has no volume v/)
})
