// The agent with a stock Envoy in a network namespace, against a control plane over TLS.
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { namespacesMissing, TestNamespace } from './testing/namespace.ts'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
const POD_IP = '10.244.0.10'
const cleanup: (() => void)[] = []
after(() => {
  for (const close of cleanup.reverse()) close()
})

function envoyMissing(): string | false {
  try {
    execFileSync('envoy', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'envoy is not on PATH'
  }
}

/** Collects what a child prints; waits for a line that matches. */
function output(child: ChildProcess): (pattern: RegExp) => Promise<void> {
  let text = ''
  child.stdout!.on('data', (chunk) => {
    text += chunk
  })
  return async (pattern) => {
    for (let i = 0; !pattern.test(text); i++) {
      assert.ok(i < 400 && child.exitCode === null, `not printed: ${pattern}; printed: ${text}`)
      await sleep(25)
    }
  }
}

test('stock Envoy beside the agent: identity, configuration, readiness, metrics, probes, end', {
  skip: namespacesMissing() || envoyMissing(),
}, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'outrigger-agent-'))
  cleanup.push(() => rmSync(dir, { recursive: true, force: true }))
  const namespace = new TestNamespace(POD_IP)
  cleanup.push(() => namespace.close())
  mkdirSync(join(dir, 'pod'))
  writeFileSync(join(dir, 'pod/labels'), 'app="web"\nversion="v1"')
  writeFileSync(join(dir, 'pod/annotations'), 'proxy.istio.io/config="terminationDrainDuration: 0s"')

  const controlPlane = namespace.spawn([process.execPath, path('./testing/control-plane.ts'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const printed = output(controlPlane)
  await printed(/ready/)
  const app = namespace.spawn(
    [
      process.execPath,
      '-e',
      "require('http').createServer((q, s) => s.writeHead(q.url === '/ok' ? 204 : 503).end('app_requests 7\\n')).listen(9080, '0.0.0.0')",
    ],
    { stdio: 'inherit' },
  )
  assert.equal(app.exitCode, null)
  const agent = namespace.spawn(
    [
      process.execPath,
      path('../cli/main.ts'),
      'agent',
      'sidecar',
      '--proxy',
      'envoy',
      '--concurrency',
      '1',
      '--workdir',
      dir,
      '--pod-info',
      join(dir, 'pod'),
    ],
    {
      stdio: ['ignore', 'inherit', 'ignore'],
      env: {
        ...process.env,
        PROXY_CONFIG: '{"discoveryAddress":"localhost:15012"}',
        POD_NAME: 'web-1',
        POD_NAMESPACE: 'default',
        INSTANCE_IP: POD_IP,
        SERVICE_ACCOUNT: 'web',
        ECC_SIGNATURE_ALGORITHM: 'ECDSA',
        ISTIO_META_WORKLOAD_NAME: 'web',
        ISTIO_KUBE_APP_PROBERS:
          '{"/app-health/web/readyz":{"httpGet":{"path":"/ok","port":9080}},"/app-health/web/livez":{"tcpSocket":{"port":9081}}}',
        ISTIO_PROMETHEUS_ANNOTATIONS: '{"scrape":"true","port":"9080","path":"/ok"}',
      },
    },
  )
  const curl = async (...args: string[]) =>
    (await namespace.attempt('curl', '-s', '-m', '5', '-w', '\n%{http_code}', ...args)).stdout
  const status = async (...args: string[]) => (await curl(...args)).split('\n').at(-1)

  for (let i = 0; (await status('http://127.0.0.1:15021/healthz/ready')) !== '200'; i++) {
    assert.ok(i < 100 && agent.exitCode === null, 'the proxy did not become ready')
    await sleep(100)
  }
  // The stream was authenticated by the token; the node id is Istio's.
  await printed(
    /connected sidecar~10\.244\.0\.10~web-1\.default~default\.svc\.cluster\.local as spiffe:\/\/cluster\.local\/ns\/default\/sa\/web\n/,
  )
  assert.equal(await status(`http://${POD_IP}:15020/app-health/web/readyz`), '204')
  assert.equal(await status(`http://${POD_IP}:15020/app-health/web/livez`), '500')
  assert.equal(await status(`http://${POD_IP}:15020/app-health/other/livez`), '404')
  const metrics = await curl('http://127.0.0.1:15020/stats/prometheus')
  assert.match(metrics, /^istio_agent_scrapes_total 1$/m)
  assert.match(metrics, /^envoy_cluster_manager_cds_update_success\{\} 1$/m)
  // The application answered 204 to its scrape: counted as failed, and left out.
  assert.ok(!metrics.includes('app_requests'))
  assert.match(
    await curl('http://127.0.0.1:15020/metrics'),
    /istio_agent_scrape_failures_total\{type="application"\} 2/,
  )
  assert.equal(await status('http://127.0.0.1:15020/quitquitquit'), '405')
  assert.equal(await status('-X', 'POST', `http://${POD_IP}:15020/quitquitquit`, '--interface', POD_IP), '403')
  const bootstrap = JSON.parse(readFileSync(join(dir, 'etc/istio/proxy/envoy-rev.json'), 'utf8'))
  assert.equal(bootstrap.node.cluster, 'web.default')
  assert.equal(bootstrap.node.metadata.WORKLOAD_NAME, 'web')
  assert.deepEqual(bootstrap.node.metadata.LABELS, { app: 'web', version: 'v1' })

  const ended = once(agent, 'exit')
  assert.equal(await status('-X', 'POST', 'http://127.0.0.1:15020/quitquitquit'), '200')
  assert.deepEqual(await ended, [0, null])
})
