// Istio's traffic management tasks that Bookinfo's own test (test/system/bookinfo.test.ts) does not go through.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { counted, type Tasks, until } from './fixture.ts'

const SUBSETS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec: {host: httpbin, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: tcp-echo}
spec: {host: tcp-echo, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
`
const URL = 'http://httpbin:8000'

const http = (spec: string) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec: {hosts: [httpbin], http: [${spec}]}
`
const tcp = (v1: number) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tcp-echo}
spec:
  hosts: [tcp-echo]
  tcp:
  - match: [{port: 9000}]
    route:
    - {destination: {host: tcp-echo, port: {number: 9000}, subset: v1}, weight: ${v1}}
    - {destination: {host: tcp-echo, port: {number: 9000}, subset: v2}, weight: ${100 - v1}}
`

export function trafficTasks(get: () => Tasks): void {
  test('request timeouts: an answer later than the timeout is 504', async () => {
    const tasks = get()
    const route = 'route: [{destination: {host: httpbin}}]'
    await tasks.with(http(`{timeout: 0.3s, ${route}}`), async () => {
      await until('timeout', () => tasks.curl('client', `${URL}/delay/1000`).status === 504)
      assert.equal(tasks.curl('client', `${URL}/delay/1`).status, 200)
    })
  })

  test('retries: a failed answer is asked for again, as often as the route says', async () => {
    const tasks = get()
    const asked = () =>
      (tasks.logs('httpbin-v1', 'app') + tasks.logs('httpbin-v2', 'app')).match(/retried/g)?.length ?? 0
    const route = 'route: [{destination: {host: httpbin}}]'
    await tasks.with(http(`{retries: {attempts: 4, retryOn: 5xx, perTryTimeout: 2s}, ${route}}`), async () => {
      await until('five attempts', () => {
        const before = asked()
        assert.equal(tasks.curl('client', `${URL}/status/500/retried`).status, 500)
        return asked() - before === 5
      })
    })
  })

  test('circuit breaking: with one connection and one pending request others overflow', async () => {
    const tasks = get()
    const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: breaker}
spec:
  host: httpbin
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}
`
    const storm = `for i in $(seq 8); do curl -s -o /dev/null -w '%{http_code}\\n' ${URL}/delay/300 & done; wait`
    await tasks.with(rule, async () => {
      await until('overflow', () => {
        const codes = counted(tasks.exec('client', 'sh', '-c', storm).stdout, /(\d{3})/g)
        return (codes['503'] ?? 0) >= 3 && (codes['200'] ?? 0) >= 1
      })
      await until('UO in the log', () => / 503 UO /.test(tasks.logs('client', 'istio-proxy')))
    })
  })

  test('mirroring: v2 gets a copy of what v1 answers', async () => {
    const tasks = get()
    const route = 'route: [{destination: {host: httpbin, subset: v1}}]'
    const path = `mirrored-${Date.now()}`
    const mirror = 'mirror: {host: httpbin, subset: v2}, mirrorPercentage: {value: 100}'
    await tasks.with(`${SUBSETS}${http(`{${route}, ${mirror}}`)}`, async () => {
      await until('only v1 answers', () => tasks.versions('client', 10, `${URL}/warm`).v1 === 10)
      assert.deepEqual(tasks.versions('client', 5, `${URL}/${path}`), { v1: 5 })
      await until('five copies', () => {
        const copies = tasks.logs('httpbin-v2', 'app').match(new RegExp(`GET /${path} `, 'g'))
        return copies?.length === 5
      })
    })
  })

  test('TCP traffic shifting: all to v1, then a share to v2', async () => {
    const tasks = get()
    const versions = (times: number) =>
      counted(tasks.tcp('client', 'tcp-echo:9000', 'hello', times), /(v\d) 9000 hello/g)
    await tasks.with(`${SUBSETS}${tcp(100)}`, async () => {
      await until('all v1', () => versions(10).v1 === 10)
    })
    await tasks.with(`${SUBSETS}${tcp(20)}`, async () => {
      await until('both', () => {
        const { v1 = 0, v2 = 0 } = versions(20)
        return v1 >= 1 && v2 > v1
      })
    })
  })

  test('locality load balancing: the nearest place first, the next when it fails, shares when asked for', async () => {
    const tasks = get()
    const entry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: placed}
spec:
  hosts: [placed.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8000, name: http, protocol: HTTP}]
  endpoints:
  - {address: ${tasks.podIp('httpbin-v1')}, locality: local/local-a}
  - {address: ${tasks.podIp('httpbin-v2')}, locality: far/away}
`
    const rule = (setting: string) => `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: placed}
spec:
  host: placed.example.com
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {enabled: true, ${setting}}}
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 1m, maxEjectionPercent: 100}
`
    const url = [
      '-H',
      'host: placed.example.com:8000',
      'http://placed.example.com:8000/x',
      '--resolve',
      'placed.example.com:8000:240.0.0.1',
    ]
    const versions = (times: number) => tasks.versions('client', times, ...url)
    await tasks.with(entry + rule('failover: [{from: local, to: far}]'), async () => {
      await until('the near one', () => versions(10).v1 === 10)
      tasks.exec('httpbin-v1', 'curl', '-s', 'http://127.0.0.1:8000/failing/yes')
      try {
        await until('failover', () => versions(5).v2 === 5)
      } finally {
        tasks.exec('httpbin-v1', 'curl', '-s', 'http://127.0.0.1:8000/failing/no')
      }
    })
    await tasks.with(entry + rule('distribute: [{from: "local/*", to: {"local/*": 20, "far/*": 80}}]'), async () => {
      await until('shares', () => {
        const { v1 = 0, v2 = 0 } = versions(30)
        return v1 >= 1 && v2 > v1
      })
    })
  })
}
