import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { ResourceGenerator } from './resources.ts'

const entry = (name: string) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}}
spec: {hosts: [${name}.example.com], resolution: NONE, ports: [{number: 9000, name: tcp, protocol: TCP}]}`
const virtualService = (name: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}}
spec: {hosts: [x.example.com], http: [{route: [{destination: {host: web}}]}]}`
const SECOND = `apiVersion: v1
kind: Service
metadata: {name: second}
spec: {clusterIP: 10.96.0.2, selector: {app: web}, ports: [{port: 90, name: tcp, targetPort: 8080}]}`

test('what a proxy is not given is told until that changes, from a warm cache too', () => {
  const mesh = new TestMesh(
    [serviceYaml('web'), SECOND, entry('a'), entry('b'), virtualService('v'), virtualService('w')].join('\n---\n'),
  )
  const generator = new ResourceGenerator()
  const proxies = ['10.1.0.1', '10.1.0.2'].map((ip) => testProxy({ ip, name: `p${ip.at(-1)}`, labels: { app: 'web' } }))
  const told = () => {
    const push = mesh.push()
    for (const proxy of proxies) {
      for (const [type, names] of [
        [CDS_TYPE, null],
        [LDS_TYPE, null],
        [RDS_TYPE, ['80']],
      ] as const)
        generator.generate(type, proxy, push, names)
    }
    return [...generator.remarks].map(({ proxy, metric, key }) => `${proxy.split('~')[2]} ${metric} ${key}`).sort()
  }
  const of = (proxy: string, ip: string) => [
    `${proxy}.default pilot_conflict_inbound_listener sidecar~${ip}~${proxy}.default~default.svc.cluster.local`,
    `${proxy}.default pilot_conflict_outbound_listener_tcp_over_current_tcp 0.0.0.0_9000`,
    `${proxy}.default pilot_vservice_dup_domain x.example.com:80`,
  ]
  assert.deepEqual(told(), [...of('p1', '10.1.0.1'), ...of('p2', '10.1.0.2')])
  generator.remarks.forget(proxies[0]!.id)
  assert.equal([...generator.remarks].length, 3)
  mesh.remove('Service', 'second')
  mesh.remove('ServiceEntry.networking.istio.io', 'b')
  mesh.remove('VirtualService.networking.istio.io', 'w')
  assert.deepEqual(told(), [])
})
