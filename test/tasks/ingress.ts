// Istio's ingress tasks: HTTP, every way of TLS, pass-through by SNI, tokens at the gateway.
import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import type { TestCertificate } from '../../src/proxy/network/testing.ts'
import { type Answer, type Tasks, until } from './fixture.ts'
import { issuer } from './security.ts'

const GATEWAY = 'istio-ingressgateway.istio-system'

const gateway = (server: string) => `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec: {selector: {istio: ingressgateway}, servers: [${server}]}
`
const virtualService = (host: string, spec: string) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: ["${host}"], gateways: [web], ${spec}}
`
const TO_HTTPBIN = 'http: [{route: [{destination: {host: httpbin, port: {number: 8000}}}]}]'
const https = (tls: string, host = 'web.example.com', protocol = 'HTTPS') =>
  `{port: {number: 443, name: https, protocol: ${protocol}}, hosts: [${host}], tls: {${tls}}}`

export function ingressTasks(get: () => Tasks): void {
  /** curl from outside of the mesh to the gateway, for `host`; more arguments are curl's. */
  const ask = (host: string, ...args: string[]): Answer => {
    const tasks = get()
    const ca = tasks.file('gateway-ca.pem', tasks.ca.cert)
    const to = `${host}:443:${GATEWAY}:443`
    return tasks.curl('legacy/legacy', '--cacert', ca, '--connect-to', to, ...args, `https://${host}/x`)
  }
  const pem = (name: string, { cert, key }: TestCertificate): string[] => {
    const tasks = get()
    return ['--cert', tasks.file(`${name}.pem`, cert), '--key', tasks.file(`${name}.key`, key)]
  }
  const isHandshakeFailure = ({ status, exit }: Answer) => status === 0 && [16, 35, 52, 55, 56, 92].includes(exit)

  test('ingress: routes of the gateway by host and path, others are 404', async () => {
    const tasks = get()
    const server = '{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.example.com]}'
    const routes = TO_HTTPBIN.replace('{route', '{match: [{uri: {prefix: /in}}], route')
    const code = (host: string, path: string) =>
      tasks.curl('legacy/legacy', '-H', `host: ${host}`, `http://${GATEWAY}${path}`).status
    await tasks.with(gateway(server) + virtualService('web.example.com', routes), async () => {
      await until('route', () => code('web.example.com', '/in/x') === 200)
      assert.equal(code('web.example.com', '/out'), 404)
      assert.equal(code('other.example.com', '/in/x'), 404)
    })
  })

  test('secure ingress: one certificate a host, renewed in place; HTTP is sent on to HTTPS', async () => {
    const tasks = get()
    const servers = [
      https('mode: SIMPLE, credentialName: one'),
      https('mode: SIMPLE, credentialName: two', 'two.example.com').replace('name: https', 'name: https-two'),
      '{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.example.com], tls: {httpsRedirect: true}}',
    ]
    const two = virtualService('two.example.com', TO_HTTPBIN).replace('name: web', 'name: two')
    const manifest = gateway(servers.join(', ')) + virtualService('web.example.com', TO_HTTPBIN) + two
    const secrets = ['one', 'two'].map((name) =>
      tasks.secret(name, tasks.ca.issue(`DNS:${name === 'one' ? 'web' : name}.example.com`)),
    )
    await tasks.with([manifest, ...secrets].join('---\n'), async () => {
      await until('first host', () => ask('web.example.com').status === 200)
      await until('second host', () => ask('two.example.com').status === 200)
      assert.notEqual(ask('three.example.com').exit, 0)
      const plain = tasks.curl('legacy/legacy', '-i', '-H', 'host: web.example.com', `http://${GATEWAY}/x`)
      assert.equal(plain.status, 301)
      assert.match(plain.body, /location: https:\/\/web\.example\.com\/x/i)
      // A certificate of an authority the client does not know: it notices the change.
      await tasks.with(tasks.secret('one', tasks.otherCa.issue('DNS:web.example.com')), async () => {
        await until('renewed', () => ask('web.example.com').exit === 60)
      })
    })
  })

  test('mutual TLS at the gateway: only certificates of the authority, not revoked, with the right name and key', async () => {
    const tasks = get()
    const server = tasks.ca.issue('DNS:web.example.com')
    const good = tasks.ca.issue('DNS:client.example.com')
    const revoked = tasks.ca.issue('DNS:client.example.com')
    const stranger = tasks.otherCa.issue('DNS:client.example.com')
    const spki = ({ cert }: TestCertificate) => {
      const der = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' })
      return createHash('sha256').update(der).digest('base64')
    }
    const hash = ({ cert }: TestCertificate) => new X509Certificate(cert).fingerprint256
    const with_ = async (tls: string, more: Record<string, string>, check: () => Promise<void>) => {
      const secret = tasks.secret('web', server, { 'ca.crt': tasks.ca.cert, ...more })
      const manifest = `${secret}${gateway(https(`credentialName: web, ${tls}`))}${virtualService('web.example.com', TO_HTTPBIN)}`
      await tasks.with(manifest, async () => {
        await until('good', () => ask('web.example.com', ...pem('good', good)).status === 200)
        await check()
      })
    }
    const without = () => ask('web.example.com')
    const other = () => ask('web.example.com', ...pem('stranger', stranger))
    const bad = () => ask('web.example.com', ...pem('revoked', revoked))

    await with_('mode: MUTUAL', {}, async () => {
      assert.ok(isHandshakeFailure(without()), 'no certificate')
      assert.ok(isHandshakeFailure(other()), 'another authority')
      assert.match(ask('web.example.com', ...pem('good', good)).body, /x-forwarded-client-cert/)
    })
    await with_('mode: OPTIONAL_MUTUAL', {}, async () => {
      assert.equal(without().status, 200)
      assert.ok(isHandshakeFailure(other()), 'another authority')
    })
    await with_('mode: MUTUAL', { 'ca.crl': tasks.ca.revoke(revoked) }, async () => {
      assert.ok(isHandshakeFailure(bad()), 'revoked')
    })
    await with_('mode: MUTUAL, subjectAltNames: [client.example.com]', {}, async () => {
      assert.ok(isHandshakeFailure(ask('web.example.com', ...pem('named', tasks.ca.issue('DNS:other.example.com')))))
    })
    await with_(`mode: MUTUAL, verifyCertificateSpki: ["${spki(good)}"]`, {}, async () => {
      assert.ok(isHandshakeFailure(bad()), 'another key')
    })
    await with_(`mode: MUTUAL, verifyCertificateHash: ["${hash(good)}"]`, {}, async () => {
      assert.ok(isHandshakeFailure(bad()), 'another certificate')
    })
  })

  test('versions, ciphers and several certificates of a server', async () => {
    const tasks = get()
    const rsa = tasks.ca.issue('DNS:web.example.com', { rsa: true })
    const ec = tasks.ca.issue('DNS:web.example.com')
    const with_ = (tls: string, check: () => Promise<void>) =>
      tasks.with(
        `${tasks.secret('rsa', rsa)}---\n${tasks.secret('ec', ec)}${gateway(https(`mode: SIMPLE, ${tls}`))}${virtualService('web.example.com', TO_HTTPBIN)}`,
        check,
      )
    const at = (version: string) => ['--tls-max', version, `--tlsv${version}`]
    const cipher = (name: string) => [...at('1.2'), '--ciphers', name]
    await with_('credentialName: rsa, minProtocolVersion: TLSV1_3', async () => {
      await until('1.3', () => ask('web.example.com', ...at('1.3')).status === 200)
      assert.ok(isHandshakeFailure(ask('web.example.com', ...at('1.2'))))
    })
    await with_(
      'credentialName: rsa, maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]',
      async () => {
        await until('1.2', () => ask('web.example.com', ...cipher('ECDHE-RSA-AES256-GCM-SHA384')).status === 200)
        assert.ok(isHandshakeFailure(ask('web.example.com', ...at('1.3'))))
        assert.ok(isHandshakeFailure(ask('web.example.com', ...cipher('ECDHE-RSA-AES128-GCM-SHA256'))))
      },
    )
    await with_('credentialNames: [rsa, ec]', async () => {
      for (const kind of ['RSA', 'ECDSA']) {
        await until(kind, () => ask('web.example.com', ...cipher(`ECDHE-${kind}-AES128-GCM-SHA256`)).status === 200)
      }
    })
  })

  test('a credential that is not there, or of another namespace, opens nothing', async () => {
    const tasks = get()
    const secret = tasks.secret('elsewhere', tasks.ca.issue('DNS:web.example.com'), {}, 'default')
    const manifest = `${secret}${gateway(https('mode: SIMPLE, credentialName: elsewhere'))}${virtualService('web.example.com', TO_HTTPBIN)}`
    await tasks.with(manifest, async () => {
      await until('refused', () => ask('web.example.com').exit !== 0)
      await tasks.with(tasks.secret('elsewhere', tasks.ca.issue('DNS:web.example.com')), async () => {
        await until('served', () => ask('web.example.com').status === 200)
      })
    })
  })

  test('ingress without TLS termination: connections go by SNI to who has the certificate', async () => {
    const tasks = get()
    const manifest = `${gateway(https('mode: PASSTHROUGH', 'external.example.com', 'TLS'))}${virtualService(
      'external.example.com',
      'tls: [{match: [{sniHosts: [external.example.com]}], route: [{destination: {host: external.legacy.svc.cluster.local, port: {number: 443}}}]}]',
    )}`
    await tasks.with(manifest, async () => {
      await until('through', () => /"server":"https"/.test(ask('external.example.com').body))
      assert.ok(isHandshakeFailure(ask('other.example.com')))
    })
  })

  test('AUTO_PASSTHROUGH: mesh TLS from another network goes on by its SNI, nothing else does', async () => {
    const tasks = get()
    const server =
      '{port: {number: 15443, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}'
    const address = tasks.podIp(`istio-system/${tasks.mesh.pod('istio=ingressgateway', 'istio-system')}`)
    const remote = (sni: string) => `${gateway(server)}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: remote}
spec:
  hosts: [remote.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 15443}]
  endpoints: [{address: ${address}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: remote}
spec: {host: remote.example.com, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: ${sni}}}}
`
    const call = () =>
      tasks.curl('client', '--resolve', 'remote.example.com:8000:240.0.0.2', 'http://remote.example.com:8000/x')
    await tasks.with(remote('outbound_.8000_._.httpbin.default.svc.cluster.local'), async () => {
      await until('through', () => /URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/client/.test(call().body))
    })
    await tasks.with(remote('outbound_.8001_._.httpbin.default.svc.cluster.local'), async () => {
      await until('unknown port', () => call().status === 503)
    })
  })

  test('tokens at the gateway: required, and routes chosen by their claims', async () => {
    const tasks = get()
    const server = '{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.example.com]}'
    const routes =
      'http: [{match: [{headers: {"@request.auth.claims.groups": {exact: editors}}}], route: [{destination: {host: httpbin, port: {number: 8000}}}]}]'
    const authentication = `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ingress, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: [{issuer: "https://issuer.example.com", jwks: '${issuer.keySet}', forwardOriginalToken: true}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ingress, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ["*"]}}]}]
`
    const call = (...args: string[]) =>
      tasks.curl('legacy/legacy', '-H', 'host: web.example.com', ...args, `http://${GATEWAY}/x`)
    const bearer = (claims: object) => ['-H', `authorization: Bearer ${issuer.token(claims)}`]
    await tasks.with(gateway(server) + virtualService('web.example.com', routes) + authentication, async () => {
      await until('required', () => call().status === 403)
      await until('editors', () => call(...bearer({ groups: ['editors'] })).status === 200)
      assert.equal(call(...bearer({ groups: ['readers'] })).status, 404)
      assert.match(call(...bearer({ groups: ['editors'] })).body, /"authorization":"Bearer /)
    })
  })
}
