// A Gateway of the Gateway API on the embedded cluster: its workload, its status, its traffic, its end.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createMesh, type Mesh, skip, until } from './mesh.ts'

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
`
const GATEWAY = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: web }
spec:
  gatewayClassName: istio
  listeners: [{ name: http, port: 80, protocol: HTTP }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: echo }
spec:
  parentRefs: [{ name: web }]
  rules:
    - matches: [{ path: { type: PathPrefix, value: /app } }]
      backendRefs: [{ name: echo, port: 9080 }]
`

describe('a Gateway of class istio', { skip }, () => {
  let mesh: Mesh
  before(async () => {
    mesh = await createMesh(() => '')
    mesh.remove('bookinfo-gateway.yaml')
    const program = "require('node:http').createServer((q, s) => s.end('echo ' + q.url)).listen(9080)"
    mesh.save('images.yaml', `images:\n  test/echo:\n    command: [node, --eval, ${JSON.stringify(program)}]\n`)
    mesh.save('echo.yaml', ECHO)
    mesh.save('gateway.yaml', GATEWAY)
    const { status, stderr } = mesh.up('--detach')
    assert.equal(status, 0, stderr)
  })
  after(() => mesh.close())

  test('has a running pod, and its status says so', async () => {
    assert.match(mesh.ok('get', 'pods'), /^web-istio-\S+ +1\/1 +Running/m)
    await until('programmed', () => /^web +istio +10\.96\.\d+\.\d+ +True +/m.test(mesh.ok('get', 'gateway')))
    assert.match(mesh.ok('get', 'httproute', 'echo', '-o', 'yaml'), /reason: ResolvedRefs\n +status: "True"/)
  })

  test('serves its routes, and a changed one at once', async () => {
    const code = (path: string) =>
      mesh.ok('exec', 'echo', '--', 'curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', `http://web-istio${path}`)
    assert.equal(code('/app'), '200')
    assert.equal(code('/new'), '404')
    mesh.save('gateway.yaml', GATEWAY.replace('value: /app', 'value: /new'))
    await until('the changed route', () => code('/new') === '200')
  })

  test('a port of the host leads to its Service', async () => {
    const forward = mesh.start(['port-forward', 'svc/web-istio', ':80'], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      const port = await new Promise<string>((resolve, reject) => {
        forward.stdout!.once('data', (chunk: Buffer) => resolve(/:(\d+) -> 80/.exec(String(chunk))![1]!))
        forward.once('exit', (status) => reject(new Error(`port-forward ended: ${status}`)))
      })
      const response = await fetch(`http://127.0.0.1:${port}/new/x`)
      assert.equal(await response.text(), 'echo /new/x')
    } finally {
      forward.kill()
    }
  })

  test('the host reaches it at an address of its own, on its own port', async () => {
    const address = await until(
      'an address',
      () => mesh.record().balancers.find(({ name }) => name === 'web-istio')?.address,
    )
    assert.match(mesh.ok('status'), new RegExp(`^default/web-istio ${address.replaceAll('.', '\\.')}, ports `, 'm'))
    const response = await fetch(`http://${address}/new/x`)
    assert.equal(await response.text(), 'echo /new/x')
  })

  test('takes its workload along when it is removed', async () => {
    mesh.save('gateway.yaml', GATEWAY.slice(GATEWAY.indexOf('---')))
    await until('no Service', () => !mesh.ok('get', 'svc').includes('web-istio'))
    await until('no pod', () => !mesh.ok('get', 'pods').includes('web-istio'))
  })
})
