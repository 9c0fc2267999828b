// Istio's egress tasks: ServiceEntries, TLS origination of every mode, egress gateways.
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Tasks, until } from './fixture.ts'

const HOST = 'external.example.com'
const ADDRESS = 'external.legacy.svc.cluster.local'

/** The host outside of the mesh, by the name of the Service that stands for DNS. */
const entry = (ports: string) => `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external}
spec: {hosts: [${HOST}], location: MESH_EXTERNAL, resolution: DNS, ports: [${ports}], endpoints: [{address: ${ADDRESS}}]}
`
const HTTP_PORT = '{number: 80, name: http, protocol: HTTP}'
const rule = (tls: string, more = 'workloadSelector: {matchLabels: {app: client}}') => `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: external}
spec: {host: ${HOST}, ${more}, trafficPolicy: {tls: {${tls}}}}
`
/** The client's own resolver does not know the host: any address does, the mesh goes by the name. */
const url = (port: number, path = '/x') => ['--resolve', `${HOST}:${port}:240.0.0.9`, `http://${HOST}:${port}${path}`]

export function egressTasks(get: () => Tasks): void {
  test('external services: with REGISTRY_ONLY only registered hosts are reached', async () => {
    const tasks = get()
    await tasks.withMesh('outboundTrafficPolicy: {mode: REGISTRY_ONLY}', async () => {
      await until('blocked', () => tasks.curl('client', ...url(80)).status === 502)
      await tasks.with(entry(HTTP_PORT), async () => {
        await until('reached', () => /"server":"http"/.test(tasks.curl('client', ...url(80)).body))
        // A route for it, as for any service.
        const slow = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: external}
spec: {hosts: [${HOST}], http: [{fault: {abort: {percentage: {value: 100}, httpStatus: 418}}, route: [{destination: {host: ${HOST}}}]}]}
`
        await tasks.with(slow, async () => {
          await until('route', () => tasks.curl('client', ...url(80)).status === 418)
        })
      })
    })
  })

  test('TLS origination: SIMPLE checks authority and name, insecureSkipVerify does not', async () => {
    const tasks = get()
    const service = entry('{number: 80, name: http, protocol: HTTP, targetPort: 443}')
    const secret = (ca: string) => tasks.secret('external-ca', null, { 'ca.crt': ca }, 'default')
    const body = () => tasks.curl('client', ...url(80))
    const cases: [tls: string, ca: string, status: number][] = [
      ['mode: SIMPLE, credentialName: external-ca, sni: external.example.com', tasks.ca.cert, 200],
      ['mode: SIMPLE, credentialName: external-ca', tasks.otherCa.cert, 503],
      ['mode: SIMPLE, credentialName: external-ca, subjectAltNames: [external.example.com]', tasks.ca.cert, 200],
      ['mode: SIMPLE, credentialName: external-ca, subjectAltNames: [other.example.com]', tasks.ca.cert, 503],
      ['mode: SIMPLE, insecureSkipVerify: true', tasks.otherCa.cert, 200],
      ['mode: DISABLE', tasks.ca.cert, 400],
    ]
    for (const [tls, ca, status] of cases) {
      await tasks.with(`${secret(ca)}${service}${rule(tls)}`, async () => {
        await until(
          `${status}: ${tls}`,
          () => body().status === (status === 400 ? 503 : status) || body().status === status,
        )
        if (status === 200) assert.match(body().body, /"server":"https"/)
      })
    }
  })

  test('TLS origination: MUTUAL shows a certificate; one of another authority, or none, is turned away', async () => {
    const tasks = get()
    const service = entry('{number: 80, name: http, protocol: HTTP, targetPort: 8443}')
    const call = () => tasks.curl('client', ...url(80))
    const good = tasks.secret('pair', tasks.ca.issue('DNS:client.example.com'), { 'ca.crt': tasks.ca.cert }, 'default')
    const bad = tasks.secret(
      'pair',
      tasks.otherCa.issue('DNS:client.example.com'),
      { 'ca.crt': tasks.ca.cert },
      'default',
    )
    const mutual = rule('mode: MUTUAL, credentialName: pair, sni: external.example.com')
    await tasks.with(`${good}${service}${mutual}`, async () => {
      await until('shown', () => /"server":"mtls"/.test(call().body))
    })
    await tasks.with(`${bad}${service}${mutual}`, async () => {
      await until('another authority', () => call().status === 503)
    })
    const simple = rule('mode: SIMPLE, credentialName: pair, sni: external.example.com')
    await tasks.with(`${good}${service}${simple}`, async () => {
      await until('none', () => call().status === 503)
    })
  })

  test('TLS origination: certificates and authorities in files of the pod, and the authorities of the system', async (t) => {
    const tasks = get()
    const service = (port: number) => entry(`{number: 80, name: http, protocol: HTTP, targetPort: ${port}}`)
    const call = () => {
      const { status, body } = tasks.curl('client', ...url(80))
      return `${status} ${body}`
    }
    // Pods have a /tmp of their own; the rest of the file system is the machine's.
    const folder = mkdtempSync('/var/tmp/egress-')
    t.after(() => rmSync(folder, { recursive: true }))
    // The proxy runs as a user of its own.
    chmodSync(folder, 0o755)
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const { cert, key } = tasks.ca.issue('DNS:client.example.com')
    const pair = `clientCertificate: ${file('c.pem', cert)}, privateKey: ${file('k.pem', key)}`
    const [known, unknown] = [file('ca.pem', tasks.ca.cert), file('other.pem', tasks.otherCa.cert)]
    const sni = 'sni: external.example.com'
    const cases: [tls: string, port: number, expected: RegExp][] = [
      [`mode: SIMPLE, caCertificates: ${known}, ${sni}`, 443, /"server":"https"/],
      [`mode: SIMPLE, caCertificates: ${unknown}, ${sni}`, 443, /^503 /],
      [`mode: SIMPLE, ${sni}`, 443, /^503 /],
      [`mode: MUTUAL, ${pair}, caCertificates: ${known}, ${sni}`, 8443, /"server":"mtls"/],
    ]
    for (const [tls, port, expected] of cases)
      await tasks.with(`${service(port)}${rule(tls)}`, async () => {
        await until(`${expected}: ${tls}`, () => expected.test(call()))
      })
  })

  test('egress gateway: HTTP to it in mesh TLS, from it in TLS of the host; only who may gets through', async () => {
    const tasks = get()
    const gateway = 'istio-egressgateway.istio-system.svc.cluster.local'
    const credential = tasks.secret('external-ca', null, { 'ca.crt': tasks.ca.cert })
    const manifest = `${credential}${entry(`${HTTP_PORT}, {number: 443, name: https, protocol: HTTPS}`)}---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: egress}
spec:
  selector: {istio: egressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [${HOST}], tls: {mode: ISTIO_MUTUAL}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: egress}
spec:
  host: ${gateway}
  subsets:
  - name: external
    trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: ISTIO_MUTUAL, sni: ${HOST}}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: external}
spec:
  hosts: [${HOST}]
  gateways: [egress, mesh]
  http:
  - match: [{gateways: [mesh], port: 80}]
    route: [{destination: {host: ${gateway}, subset: external, port: {number: 443}}}]
  - match: [{gateways: [egress], port: 443}]
    route: [{destination: {host: ${HOST}, port: {number: 443}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: external}
spec:
  host: ${HOST}
  trafficPolicy:
    portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, credentialName: external-ca, sni: ${HOST}}}]
`
    await tasks.with(manifest, async () => {
      await until('through', () => /"server":"https"/.test(tasks.curl('client', ...url(80, '/through')).body))
      await until('the gateway logs it', () =>
        /GET \/through HTTP\/[\d.]+" 200 /.test(tasks.logs('istio-system/istio-egressgateway', 'istio-proxy')),
      )
      // Without the mesh's certificate nobody talks to the gateway.
      const bare = tasks.curl('legacy/legacy', '-k', '--connect-to', `${HOST}:443:${gateway}:443`, `https://${HOST}/x`)
      assert.equal(bare.status, 0)
      const deny = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: egress, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: egressgateway}}
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]
`
      await tasks.with(deny, async () => {
        await until('denied', () => tasks.curl('client', ...url(80)).status === 403)
      })
    })
  })

  test('egress gateway: TLS of the client itself goes through by SNI', async () => {
    const tasks = get()
    const gateway = 'istio-egressgateway.istio-system.svc.cluster.local'
    const route = (gateways: string, host: string) =>
      `{match: [{gateways: [${gateways}], port: 443, sniHosts: [${HOST}]}], route: [{destination: {host: ${host}, port: {number: 443}}}]}`
    const manifest = `${entry('{number: 443, name: tls, protocol: TLS}')}---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: egress}
spec:
  selector: {istio: egressgateway}
  servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [${HOST}], tls: {mode: PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: external}
spec: {hosts: [${HOST}], gateways: [egress, mesh], tls: [${route('mesh', gateway)}, ${route('egress', HOST)}]}
`
    const ca = tasks.file('external-ca.pem', tasks.ca.cert)
    const call = () =>
      tasks.curl('client', '--cacert', ca, '--resolve', `${HOST}:443:240.0.0.9`, `https://${HOST}/x`).body
    await tasks.with(manifest, async () => {
      await until('through', () => /"server":"https"/.test(call()))
      await until('the gateway logs it', () =>
        tasks.logs('istio-system/istio-egressgateway', 'istio-proxy').includes(`outbound|443||${HOST}`),
      )
    })
  })
}
