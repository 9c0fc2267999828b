// Bookinfo with sidecars: interception, mutual TLS, endpoints, and traffic rules under load.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createMesh, type Mesh, skip, until } from './mesh.ts'

/** Answers every request with its headers, so that a test sees what an application sees. */
const ECHO_PROGRAM =
  "require('node:http').createServer((q, s) => s.end(JSON.stringify(q.headers))).listen(9080); process.on('SIGTERM', () => process.exit())"
const ECHO = `
apiVersion: v1
kind: Service
metadata: { name: echo }
spec: { selector: { app: echo }, ports: [{ name: http, port: 9080 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: echo, labels: { app: echo } }
spec: { containers: [{ name: echo, image: test/echo }] }
---
apiVersion: v1
kind: Pod
metadata: { name: plain, labels: { app: plain, sidecar.istio.io/inject: "false" } }
spec: { containers: [{ name: plain, image: test/echo }] }
`

/** The nat table of a default installation (istio-iptables without options), as iptables-save prints it. */
const EXPECTED_RULES = [
  '-A PREROUTING -p tcp -j ISTIO_INBOUND',
  '-A OUTPUT -j ISTIO_OUTPUT',
  '-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN',
  '-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN',
  '-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN',
  '-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN',
  '-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT',
  '-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006',
  '-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN',
  '-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT',
  '-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN',
  '-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN',
  '-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT',
  '-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN',
  '-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN',
  '-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN',
  '-A ISTIO_OUTPUT -j ISTIO_REDIRECT',
  '-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001',
]

describe('Bookinfo', { skip }, () => {
  let mesh: Mesh
  let productpage: string
  before(async () => {
    mesh = await createMesh()
    appendFileSync(
      join(mesh.dir, 'images.yaml'),
      `  test/echo:\n    command: [node, --eval, ${JSON.stringify(ECHO_PROGRAM)}]\n`,
    )
    mesh.save('echo.yaml', ECHO)
    const { status, stderr } = mesh.up('--detach')
    assert.equal(status, 0, stderr)
    productpage = mesh.pod('app=productpage')
  })
  after(() => mesh.close())

  const page = async (headers: Record<string, string> = {}) => {
    const response = await fetch(`${mesh.gateway}/productpage`, { headers })
    const html = await response.text()
    return { status: response.status, html, version: /reviews (v\d)/.exec(html)?.[1] }
  }
  const curl = (pod: string, url: string) =>
    mesh.run('exec', pod, '--', 'curl', '-s', '--max-time', '3', '-w', '\n%{http_code}', url).stdout

  test('every pod is 2/2, the gateway 1/1', () => {
    const rows = mesh.ok('get', 'pods', '-A').trim().split('\n').slice(1)
    for (const row of rows) assert.match(row, /\b(2\/2|1\/1)\b.*Running/)
    assert.equal(rows.filter((row) => /\b2\/2\b/.test(row)).length, 7)
  })

  test('the page shows details and reviews of all versions', async () => {
    const versions = new Set<string | undefined>()
    for (let i = 0; i < 30; i++) {
      const { status, html, version } = await page()
      assert.equal(status, 200)
      assert.match(html, /William Shakespeare/)
      versions.add(version)
    }
    assert.deepEqual([...versions].sort(), ['v1', 'v2', 'v3'])
  })

  test('the capture rules are those of an Istio sidecar', () => {
    const saved = mesh.ok('exec', productpage, '--', 'iptables-save', '-t', 'nat')
    assert.deepEqual(
      saved.split('\n').filter((line) => line.startsWith('-A')),
      EXPECTED_RULES,
    )
  })

  test('calls go through both redirects', async () => {
    const counted = (pod: string, chain: string) =>
      Number(
        new RegExp(`\\[(\\d+):\\d+\\] -A ${chain} .*REDIRECT`).exec(
          mesh.ok('exec', pod, '--', 'iptables-save', '-c', '-t', 'nat'),
        )![1],
      )
    const before = [counted(productpage, 'ISTIO_REDIRECT'), counted('echo', 'ISTIO_IN_REDIRECT')]
    curl(productpage, 'http://echo:9080/')
    curl('plain', 'http://echo:9080/')
    const now = [counted(productpage, 'ISTIO_REDIRECT'), counted('echo', 'ISTIO_IN_REDIRECT')]
    assert.ok(now[0]! > before[0]! && now[1]! > before[1]!, `${before} -> ${now}`)
  })

  test('the called application sees the caller’s identity', () => {
    const headers = JSON.parse(curl(productpage, 'http://echo:9080/').split('\n')[0]!)
    assert.match(
      headers['x-forwarded-client-cert'],
      /By=spiffe:\/\/cluster\.local\/ns\/default\/sa\/default;.*URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/bookinfo-productpage/,
    )
  })

  test('a pod without sidecar is served in plain text, without an identity', () => {
    const [body, code] = curl('plain', 'http://echo:9080/').split('\n')
    assert.equal(code, '200')
    assert.equal(JSON.parse(body!)['x-forwarded-client-cert'], undefined)
    assert.match(curl('plain', 'http://reviews:9080/reviews/0'), /Reviewer1/)
  })

  const tcpdump = spawnSync('tcpdump', ['--version']).status === 0 ? false : 'needs tcpdump'
  test('between two sidecars there is TLS only', { skip: tcpdump }, async () => {
    const ip = /10\.244\.\d+\.\d+/.exec(mesh.ok('get', 'pod', 'echo', '-o', 'wide'))![0]
    const capture = spawn('nsenter', [
      '-t',
      String(mesh.record().nodePid),
      '-n',
      'tcpdump',
      '-i',
      'br0',
      '-U',
      '-w',
      '-',
      `tcp port 9080 and host ${ip}`,
    ])
    const chunks: Buffer[] = []
    capture.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    await new Promise<void>((resolve) =>
      capture.stderr.on('data', (text) => /listening/.test(String(text)) && resolve()),
    )
    curl(productpage, 'http://echo:9080/secret-path')
    const bytes = () => Buffer.concat(chunks)
    await until('captured TLS records', () => bytes().includes(Buffer.from([0x17, 0x03, 0x03])))
    assert.equal(bytes().includes('secret-path'), false)
    assert.equal(bytes().includes('HTTP/1.1'), false)
    // The same call in plain text shows that the capture would have seen it.
    curl('plain', 'http://echo:9080/open-path')
    await until('captured plain text', () => bytes().includes('open-path'))
    capture.kill()
  })

  test('both sidecars log the call', async () => {
    await page()
    const logged = (pod: string, text: string) => mesh.ok('logs', pod, '-c', 'istio-proxy').includes(text)
    await until('outbound line', () => logged(productpage, 'outbound|9080||reviews.default.svc.cluster.local'))
    await until('inbound line', () =>
      ['v1', 'v2', 'v3'].some((version) => logged(mesh.pod(`app=reviews,version=${version}`), 'inbound|9080||')),
    )
  })

  test('without its proxy a pod cannot be called', () => {
    assert.match(curl(productpage, 'http://echo:9080/'), /\n200$/)
    const pids = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && isProxyOf(pid, 'echo', mesh))
    assert.ok(pids.length > 0, 'the proxy process of pod echo')
    for (const pid of pids) process.kill(Number(pid), 'SIGSTOP')
    try {
      assert.doesNotMatch(curl(productpage, 'http://echo:9080/'), /\n200$/)
    } finally {
      for (const pid of pids) process.kill(Number(pid), 'SIGCONT')
    }
  })

  test('a scaled Deployment has its endpoints in pilot and proxy', async () => {
    mesh.ok('scale', 'deployment', 'details-v1', '--replicas', '2')
    await until('two details pods', () => mesh.ok('get', 'endpoints', 'details').match(/:9080/g)?.length === 2)
    const inPilot = async () => {
      const text = await (await fetch(`${mesh.debug}/debug/edsz?proxyID=${productpage}.default`)).text()
      return text
    }
    const addresses = mesh.ok('get', 'endpoints', 'details').match(/10\.244\.\d+\.\d+/g)!
    await until('edsz', async () => {
      const text = await inPilot()
      return addresses.every((address) => text.includes(address))
    })
    await until('pc endpoint', () => {
      const lines = mesh.ok('pc', 'endpoint', productpage).split('\n')
      return addresses.every((address) =>
        lines.some((line) => line.startsWith(`${address}:9080`) && /HEALTHY +OK +outbound\|9080\|\|details/.test(line)),
      )
    })
    mesh.ok('scale', 'deployment', 'details-v1', '--replicas', '1')
    await until('one details pod', () => mesh.ok('get', 'endpoints', 'details').match(/:9080/g)?.length === 1)
  })

  test('traffic rules take effect on saving, and no request fails through the changes', async () => {
    const failures: string[] = []
    let ended = false
    const load = (async () => {
      while (!ended) {
        page().then(
          ({ status, html }) =>
            (status === 200 && /William Shakespeare/.test(html)) ||
            failures.push(`${status} ${html.slice(html.indexOf('<main>'))}`),
          (error) => failures.push(String(error)),
        )
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    })()
    const versions = async (count: number) => {
      const seen: (string | undefined)[] = []
      for (let i = 0; i < count; i++) seen.push((await page()).version)
      return [...new Set(seen)].sort()
    }
    const becomes = (what: string, expected: string[]) =>
      until(what, async () => assert.deepEqual(await versions(20), expected) === undefined)
    const jason = { cookie: 'bookinfo-user=jason' }

    try {
      // Istio's order: subsets first, routes to them when every proxy has them.
      mesh.use('destination-rule-all.yaml')
      await until('subsets', () =>
        ['productpage', 'reviews', 'istio-ingressgateway'].every((app) => {
          const namespace = app === 'istio-ingressgateway' ? 'istio-system' : 'default'
          return /reviews\.default\S* +9080 +v3 /.test(
            mesh.ok('pc', 'cluster', `${mesh.pod(`app=${app}`, namespace)}.${namespace}`),
          )
        }),
      )
      mesh.use('virtual-service-all-v1.yaml')
      await becomes('all v1', ['v1'])
      mesh.remove('virtual-service-all-v1.yaml')
      mesh.use('virtual-service-reviews-50-v3.yaml')
      await becomes('half v3', ['v1', 'v3'])
      mesh.remove('virtual-service-reviews-50-v3.yaml')
      mesh.use('virtual-service-reviews-90-10.yaml')
      await until('some v2, no v3', async () => assert.deepEqual(await versions(60), ['v1', 'v2']) === undefined)
      mesh.remove('virtual-service-reviews-90-10.yaml')
      mesh.use('virtual-service-reviews-test-v2.yaml')
      await becomes('v1 for all', ['v1'])
      assert.equal((await page(jason)).version, 'v2')
      mesh.use('virtual-service-ratings-test-abort.yaml')
      await until('abort for jason', async () =>
        /Ratings service is currently unavailable/.test((await page(jason)).html),
      )
      mesh.remove('virtual-service-ratings-test-abort.yaml')
      mesh.use('virtual-service-ratings-test-delay.yaml')
      await until(
        'delay for jason',
        async () => /product reviews are currently unavailable/.test((await page(jason)).html),
        40_000,
      )
      assert.equal((await page()).version, 'v1')
    } finally {
      ended = true
      await load
    }
    assert.deepEqual(failures, [])
  })
})

/** A process that belongs to the data plane of a pod of this mesh. */
function isProxyOf(pid: string, pod: string, mesh: Mesh): boolean {
  try {
    if (!/agent\0sidecar|envoy-rev\.json/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))) return false
    if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`POD_NAME=${pod}`)) return false
    return isDescendant(Number(pid), mesh.record().nodePid)
  } catch {
    return false // ended while we looked
  }
}

function isDescendant(pid: number, ancestor: number): boolean {
  for (let at = pid; at > 1; ) {
    if (at === ancestor) return true
    at = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${at}/status`, 'utf8'))![1])
  }
  return false
}
