// Bookinfo under our control plane with stock Envoy as its data plane, and with both kinds of proxy in one mesh: every
// hop is mutual TLS between whatever proxies there are, and no configuration is refused.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { createMesh, type Mesh, skip, until } from '../system/mesh.ts'
import { envoyBinary } from './harness/proxies.ts'

const reason = skip || (envoyBinary() ? false : 'real Envoy is not installed')

/** Half of the workloads on Envoy, so that each kind calls the other in both directions. */
const ON_ENVOY = ['productpage-v1', 'reviews-v2', 'ratings-v1']

function halfOnEnvoy(manifest: string): string {
  const documents = manifest.split(/^---$/m).map((document) => {
    const name = /^kind: Deployment$/m.test(document) ? /^metadata:\n {2}name: (\S+)$/m.exec(document)?.[1] : undefined
    if (!name || !ON_ENVOY.includes(name)) return document
    return document.replace(/^( {4}metadata:\n)/m, '$1      annotations:\n        outrigger.io/proxy: envoy\n')
  })
  return documents.join('---')
}

const MESHES = [
  { name: 'stock Envoy everywhere', flag: 'envoy', change: (manifest: string): string => manifest },
  { name: 'half on Envoy, half on ours', flag: 'mixed-by-annotation', change: halfOnEnvoy },
]

for (const { name, flag, change } of MESHES) {
  describe(`Bookinfo: ${name}`, { skip: reason }, () => {
    let mesh: Mesh
    before(async () => {
      mesh = await createMesh(change)
      const { status, stderr } = mesh.up('--proxy', flag, '--detach')
      assert.equal(status, 0, stderr)
    })
    after(() => mesh?.close())

    it('every call is answered, by each version of reviews', async () => {
      const versions = new Set<string>()
      await until('all versions seen', async () => {
        const response = await fetch(`${mesh.gateway}/productpage`)
        const page = await response.text()
        assert.equal(response.status, 200, page.slice(0, 500))
        const version = /reviews-(v[123])/.exec(page)?.[1]
        assert.ok(version, 'the page names the reviews version')
        versions.add(version)
        return versions.size === 3
      })
    })

    it('the proxies are the ones asked for', () => {
      const kinds = ['app=productpage', 'app=details'].map((selector) => {
        const info = mesh.ok(
          'exec',
          mesh.pod(selector),
          '-c',
          'istio-proxy',
          '--',
          'curl',
          '-s',
          '127.0.0.1:15000/server_info',
        )
        return /BoringSSL/.test(info) ? 'envoy' : 'outrigger'
      })
      assert.deepEqual(kinds, flag === 'envoy' ? ['envoy', 'envoy'] : ['envoy', 'outrigger'])
    })

    it('hops are mutual TLS', async () => {
      const log = await until('an inbound line at ratings', () => {
        const lines = mesh.ok('logs', mesh.pod('app=ratings'), '-c', 'istio-proxy')
        return lines.includes('inbound|9080||') ? lines : undefined
      })
      assert.match(log, /outbound_\.9080_\._\.ratings\.default\.svc\.cluster\.local/, 'the SNI of mesh TLS')
    })

    it('no proxy refused a resource', async () => {
      const metrics = await (await fetch(`${mesh.debug}/metrics`)).text()
      const rejects = metrics
        .split('\n')
        .filter((line) => /^pilot_(total_xds_rejects|xds_[a-z]+_reject)/.test(line) && !/ 0$/.test(line))
      assert.deepEqual(rejects, [])
    })
  })
}
