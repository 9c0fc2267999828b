// Istio's security tasks: mutual TLS, tokens, authorization of HTTP and TCP, external authorization, dry runs.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Answer, type Tasks, until } from './fixture.ts'
import { TokenIssuer } from './tokens.ts'

const URL = 'http://httpbin:8000'
const FULL_URL = 'http://httpbin.default:8000'

const resource = (kind: string, name: string, spec: string, namespace = 'default') => `---
apiVersion: security.istio.io/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${namespace}}
spec: ${spec}
`
const HTTPBIN = 'selector: {matchLabels: {app: httpbin}}'
const policy = (name: string, spec: string) => resource('AuthorizationPolicy', name, `{${HTTPBIN}, ${spec}}`)

export const issuer = new TokenIssuer()

export function securityTasks(get: () => Tasks): void {
  const ask = (pod: string, ...args: string[]): Answer => get().curl(pod, ...args)
  const isRefused = ({ status }: Answer) => status === 0

  test('strict mutual TLS of the mesh, of a namespace, of a workload: no plain text comes in', async () => {
    const tasks = get()
    assert.equal(ask('legacy/legacy', FULL_URL).status, 200)
    for (const [name, namespace, selector] of [
      ['mesh', 'istio-system', ''],
      ['namespace', 'default', ''],
      ['workload', 'default', `${HTTPBIN}, `],
    ] as const) {
      const strict = resource('PeerAuthentication', name, `{${selector}mtls: {mode: STRICT}}`, namespace)
      await tasks.with(strict, async () => {
        await until(`strict ${name}`, () => isRefused(ask('legacy/legacy', FULL_URL)))
        const { status, body } = ask('client', URL)
        assert.equal(status, 200)
        assert.match(body, /URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/client/)
        assert.equal(tasks.tcp('legacy/legacy', 'tcp-echo.default:9000'), '')
        assert.match(tasks.tcp('client', 'tcp-echo:9000'), /hello/)
      })
      await until('permissive', () => ask('legacy/legacy', FULL_URL).status === 200)
    }
  })

  test('mutual TLS by port: strict with one plain port, plain with one strict port', async () => {
    const tasks = get()
    const ports = (mode: string, other: string) =>
      resource(
        'PeerAuthentication',
        'ports',
        `{${HTTPBIN}, mtls: {mode: ${mode}}, portLevelMtls: {9000: {mode: ${other}}}}`,
      )
    await tasks.with(ports('STRICT', 'DISABLE'), async () => {
      await until('strict', () => isRefused(ask('legacy/legacy', FULL_URL)))
      await until('plain port', () => /hello/.test(tasks.tcp('legacy/legacy', 'tcp-echo.default:9000')))
      await until('client follows', () => /hello/.test(tasks.tcp('client', 'tcp-echo:9000')))
      assert.equal(ask('client', URL).status, 200)
    })
    await tasks.with(ports('DISABLE', 'STRICT'), async () => {
      await until('strict port', () => tasks.tcp('legacy/legacy', 'tcp-echo.default:9000') === '')
      await until('without identity', () => {
        const { status, body } = ask('client', URL)
        return status === 200 && !/spiffe/.test(body)
      })
      assert.match(tasks.tcp('client', 'tcp-echo:9000'), /hello/)
    })
  })

  test('tokens: every algorithm is accepted with its key, nothing else is', async () => {
    const tasks = get()
    const rule = `{${HTTPBIN}, jwtRules: [{issuer: "https://issuer.example.com", jwks: '${issuer.keySet}'}]}`
    await tasks.with(resource('RequestAuthentication', 'tokens', rule), async () => {
      const withToken = (token: string) => ask('client', URL, '-H', `authorization: Bearer ${token}`)
      await tasks.becomes(401, 'client', URL, '-H', 'authorization: Bearer garbage')
      for (const algorithm of issuer.algorithms) {
        assert.equal(withToken(issuer.token({}, algorithm)).status, 200, algorithm)
      }
      const stranger = new TokenIssuer()
      for (const algorithm of ['RS256', 'ES256', 'EdDSA', 'HS256']) {
        assert.equal(withToken(stranger.token({}, algorithm)).status, 401, `${algorithm} of another key`)
      }
      const [, payload] = issuer.token().split('.')
      const none = Buffer.from('{"alg":"none"}').toString('base64url')
      assert.equal(withToken(`${none}.${payload}.`).status, 401, 'unsigned')
      assert.equal(withToken(issuer.token({ exp: 1000 })).status, 401, 'expired')
      assert.equal(withToken(issuer.token({ iss: 'other' })).status, 401, 'another issuer')
      assert.equal(ask('client', URL).status, 200, 'without a token')
    })
  })

  test('tokens: keys by URI, audiences, places, claims in headers', async () => {
    const tasks = get()
    const rule = `{${HTTPBIN}, jwtRules: [{
      issuer: "https://issuer.example.com", jwksUri: "http://external.legacy.svc.cluster.local/jwks", audiences: [books],
      fromHeaders: [{name: x-token, prefix: "Token "}], fromParams: [token], fromCookies: [token],
      outputPayloadToHeader: x-payload, outputClaimToHeaders: [{header: x-user, claim: sub}, {header: x-level, claim: nested.level}],
      spaceDelimitedClaims: [roles]}]}`
    const roles = policy('roles', 'rules: [{when: [{key: "request.auth.claims[roles]", values: [editor]}]}]')
    await tasks.with(resource('RequestAuthentication', 'tokens', rule) + roles, async () => {
      const token = issuer.token({ aud: 'books', nested: { level: 7 }, roles: 'reader editor' })
      const header = (value: string) => ['-H', `x-token: Token ${value}`]
      await tasks.becomes(403, 'client', URL)
      await tasks.becomes(200, 'client', URL, ...header(token))
      const headers = JSON.parse(ask('client', URL, ...header(token)).body).headers
      assert.equal(headers['x-user'], 'user')
      assert.equal(headers['x-level'], '7')
      assert.equal(JSON.parse(Buffer.from(headers['x-payload'], 'base64url').toString()).aud, 'books')
      assert.equal(headers['x-token'], undefined)
      assert.equal(ask('client', `${URL}/?token=${token}`).status, 200)
      assert.equal(ask('client', URL, '-H', `cookie: token=${token}`).status, 200)
      assert.equal(ask('client', URL, '-H', `authorization: Bearer ${token}`).status, 403, 'not one of the places')
      assert.equal(
        ask('client', URL, ...header(issuer.token({ aud: 'films', roles: 'editor' }))).status,
        403,
        'audience',
      )
      assert.equal(ask('client', URL, ...header(issuer.token({ aud: 'books', roles: 'reader' }))).status, 403, 'role')
    })
  })

  test('keys that cannot be fetched: every token is refused', async () => {
    const tasks = get()
    const rule = `{${HTTPBIN}, jwtRules: [{issuer: "https://issuer.example.com", jwksUri: "http://external.legacy.svc.cluster.local:81/jwks"}]}`
    await tasks.with(resource('RequestAuthentication', 'tokens', rule), async () => {
      await tasks.becomes(401, 'client', URL, '-H', `authorization: Bearer ${issuer.token()}`)
      assert.equal(ask('client', URL).status, 200)
    })
  })

  test('authorization of HTTP: nothing, then GET, then one caller; DENY before ALLOW', async () => {
    const tasks = get()
    const post = ['-X', 'POST', URL]
    await tasks.with(resource('AuthorizationPolicy', 'nothing', '{}'), async () => {
      await tasks.becomes(403, 'client', URL)
      assert.match(ask('client', URL).body, /^RBAC: access denied$/)
      await tasks.with(policy('get', 'rules: [{to: [{operation: {methods: [GET]}}]}]'), async () => {
        await tasks.becomes(200, 'client', URL)
        assert.equal(ask('client', ...post).status, 403)
      })
    })
    const caller = 'from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]'
    await tasks.with(policy('caller', `rules: [{${caller}}]`), async () => {
      await tasks.becomes(403, 'legacy/legacy', FULL_URL)
      await tasks.becomes(200, 'client', URL)
      await tasks.with(policy('deny', 'action: DENY, rules: [{to: [{operation: {paths: [/admin*]}}]}]'), async () => {
        await tasks.becomes(403, 'client', `${URL}/admin/x`)
        assert.equal(ask('client', URL).status, 200)
      })
    })
  })

  test('authorization: every condition holds for whom it names, and for nobody else', async () => {
    const tasks = get()
    const token = issuer.token({ aud: 'books', azp: 'app', groups: ['g1', 'g2'], nested: { key: ['v'] } })
    const authentication = resource(
      'RequestAuthentication',
      'tokens',
      `{${HTTPBIN}, jwtRules: [{issuer: "https://issuer.example.com", jwks: '${issuer.keySet}'}]}`,
    )
    const [own, other] = [tasks.podIp('client'), tasks.podIp('legacy/legacy')]
    const sni = 'outbound_.8000_._.httpbin.default.svc.cluster.local'
    const bearer = ['-H', `authorization: Bearer ${token}`]
    const conditions: [key: string, right: string, wrong: string, args?: string[]][] = [
      ['request.headers[x-a]', 'one', 'two', ['-H', 'x-a: one']],
      ['source.ip', own, other],
      ['remote.ip', `${own}/32`, other],
      ['source.namespace', 'default', 'legacy'],
      ['source.principal', 'cluster.local/ns/default/sa/client', 'cluster.local/ns/default/sa/httpbin'],
      ['source.serviceAccount', 'default/client', 'default/httpbin'],
      ['source.trustDomain', 'cluster.local', 'other.example'],
      ['request.auth.principal', 'https://issuer.example.com/user', 'https://issuer.example.com/other', bearer],
      ['request.auth.audiences', 'books', 'films', bearer],
      ['request.auth.presenter', 'app', 'other', bearer],
      ['request.auth.claims[groups]', 'g2', 'g3', bearer],
      ['request.auth.claims[nested][key]', 'v', 'w', bearer],
      ['destination.port', '8000', '8001'],
      ['connection.sni', sni, 'other'],
    ]
    // One rule a path: all conditions at once.
    const kinds = ['right', 'wrong', 'notWrong', 'notRight'] as const
    const rules = conditions.flatMap(([key, right, wrong], i) =>
      kinds.map((kind) => {
        const values = `${kind.startsWith('not') ? 'notValues' : 'values'}: ["${/right/i.test(kind) ? right : wrong}"]`
        return `{to: [{operation: {paths: [/${kind}/${i}]}}], when: [{key: "${key}", ${values}}]}`
      }),
    )
    const one = `{to: [{operation: {paths: [/one]}}], when: [{key: destination.ip, values: ["${tasks.podIp('httpbin-v1')}"]}]}`
    await tasks.with(`${authentication}${policy('when', `rules: [${rules}, ${one}]`)}`, async () => {
      await tasks.becomes(403, 'client', URL)
      for (const [i, [key, , , args = []]] of conditions.entries()) {
        const statuses = tasks.each(
          'client',
          kinds.map((kind) => [...args, `${URL}/${kind}/${i}`]),
        )
        assert.deepEqual(statuses, [200, 403, 200, 403], key)
      }
      const both = new Set(
        tasks.each(
          'client',
          Array.from({ length: 16 }, () => [`${URL}/one`]),
        ),
      )
      assert.deepEqual([...both].sort(), [200, 403], 'destination.ip')
    })
  })

  test('authorization of sources and operations: hosts, ports, paths, templates, requests of a token', async () => {
    const tasks = get()
    const authentication = resource(
      'RequestAuthentication',
      'tokens',
      `{${HTTPBIN}, jwtRules: [{issuer: "https://issuer.example.com", jwks: '${issuer.keySet}'}]}`,
    )
    const bearer = ['-H', `authorization: Bearer ${issuer.token()}`]
    const rules: [rule: string, right: string[], wrong: string[]][] = [
      ['to: [{operation: {hosts: ["httpbin:*"]}}]', [URL], ['-H', 'host: other', URL]],
      ['to: [{operation: {paths: ["/a/{*}/c"]}}]', [`${URL}/a/b/c`], [`${URL}/a/b/b/c`]],
      ['to: [{operation: {paths: ["/a/{**}"]}}]', [`${URL}/a/b/c?x=1`], [`${URL}/b`]],
      ['to: [{operation: {notMethods: [POST], notPaths: ["/secret"]}}]', [URL], [`${URL}/secret`]],
      ['from: [{source: {requestPrincipals: ["https://issuer.example.com/*"]}}]', [...bearer, URL], [URL]],
      ['from: [{source: {serviceAccounts: [client]}}]', [URL], []],
      ['from: [{source: {namespaces: [default], notPrincipals: ["*/sa/other"]}}]', [URL], []],
      ['from: [{source: {trustDomains: [cluster.local]}}]', [URL], []],
    ]
    for (const [rule, right, wrong] of rules) {
      await tasks.with(`${authentication}${policy('rule', `rules: [{${rule}}]`)}`, async () => {
        // A rule about the caller: the one without an identity is the wrong one.
        if (wrong.length > 0) await tasks.becomes(403, 'client', ...wrong)
        else await tasks.becomes(403, 'legacy/legacy', FULL_URL)
        await tasks.becomes(200, 'client', ...right)
      })
      await tasks.becomes(200, 'legacy/legacy', `${FULL_URL}/b`)
    }
  })

  test('authorization of TCP: ports and callers; HTTP fields deny all of it', async () => {
    const tasks = get()
    const says = (port: number, pod = 'client') => /hello/.test(tasks.tcp(pod, `tcp-echo.default:${port}`))
    await tasks.with(policy('tcp', 'rules: [{to: [{operation: {ports: ["9000"]}}]}]'), async () => {
      await until('other port', () => !says(9001))
      assert.ok(says(9000))
    })
    const caller = 'rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]'
    await tasks.with(policy('tcp', caller), async () => {
      await until('stranger', () => !says(9000, 'legacy/legacy'))
      assert.ok(says(9000))
    })
    await tasks.with(
      policy('tcp', 'action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ["9000"]}}]}]'),
      async () => {
        await until('denied', () => !says(9000))
        assert.ok(says(9001))
      },
    )
    await tasks.with(policy('tcp', 'rules: [{to: [{operation: {methods: [GET], ports: ["9000"]}}]}]'), async () => {
      await until('an unusable rule allows nothing', () => !says(9000) && !says(9001))
    })
  })

  test('a dry run and AUDIT refuse nobody; the dry run counts whom it would have refused', async () => {
    const tasks = get()
    const dry = policy('dry', 'action: DENY, rules: [{}]').replace(
      'name: dry,',
      'name: dry, annotations: {istio.io/dry-run: "true"},',
    )
    const denied = () => {
      const pods = ['httpbin-v1', 'httpbin-v2'].map(
        (pod) =>
          tasks.mesh.run('exec', pod, '-c', 'istio-proxy', '--', 'curl', '-s', '127.0.0.1:15000/stats?filter=dry_run')
            .stdout,
      )
      return /istio_dry_run_deny_\S*shadow_denied: [1-9]/.test(pods.join('\n'))
    }
    await tasks.with(dry, async () => {
      await until('counted', () => {
        assert.equal(ask('client', URL).status, 200)
        return denied()
      })
    })
    await tasks.with(policy('audit', 'action: AUDIT, rules: [{}]'), async () => {
      assert.equal(ask('client', URL).status, 200)
    })
  })

  for (const [kind, port] of [
    ['Http', 8000],
    ['Grpc', 9000],
  ] as const) {
    test(`external authorization, ${kind}: who is named is asked about`, async () => {
      const tasks = get()
      const service = 'ext-authz.legacy.svc.cluster.local'
      const more = kind === 'Http' ? ', includeRequestHeadersInCheck: [x-ext-authz]' : ''
      const mesh = `extensionProviders: [{name: asks, envoyExtAuthz${kind}: {service: ${service}, port: ${port}${more}}}]`
      const custom = policy(
        'ask',
        'action: CUSTOM, provider: {name: asks}, rules: [{to: [{operation: {paths: [/asked]}}]}]',
      )
      await tasks.withMesh(mesh, () =>
        tasks.with(custom, async () => {
          const asked = (answer: string) => ['-H', `x-ext-authz: ${answer}`, `${URL}/asked`]
          await tasks.becomes(403, 'client', ...asked('deny'))
          await tasks.becomes(200, 'client', ...asked('allow'))
          assert.equal(ask('client', `${URL}/other`).status, 200)
        }),
      )
    })
  }

  test('external authorization of TCP: who is named is asked about', async () => {
    const tasks = get()
    const mesh =
      'extensionProviders: [{name: asks, envoyExtAuthzGrpc: {service: ext-authz.legacy.svc.cluster.local, port: 9000}}]'
    const custom = policy(
      'ask',
      'action: CUSTOM, provider: {name: asks}, rules: [{to: [{operation: {ports: ["9000"]}}]}]',
    )
    await tasks.withMesh(mesh, () =>
      tasks.with(custom, async () => {
        await until('denied', () => tasks.tcp('client', 'tcp-echo:9000') === '')
        assert.match(tasks.tcp('client', 'tcp-echo:9001'), /hello/)
      }),
    )
  })

  test('external authorization whose service is gone, or which nobody configured, refuses', async () => {
    const tasks = get()
    const mesh =
      'extensionProviders: [{name: asks, envoyExtAuthzHttp: {service: nobody.legacy.svc.cluster.local, port: 8000}}]'
    const custom = policy('ask', 'action: CUSTOM, provider: {name: asks}, rules: [{}]')
    await tasks.with(custom, async () => {
      await until('no provider', () => ask('client', URL).status === 403)
    })
    await tasks.withMesh(mesh, () =>
      tasks.with(custom, async () => {
        await until('no service', () => ask('client', URL).status === 403)
      }),
    )
  })
}
