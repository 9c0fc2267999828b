import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { parseResource } from './parse.ts'

/** `path: message` of every problem; warnings are marked. */
function problemsOf(yaml: string): string[] {
  const result = parseResource(parse(yaml))
  const problems = result.ok ? result.value.warnings : result.problems
  return problems.map((p) => `${p.level === 'warning' ? '(warning) ' : ''}${p.path}: ${p.message}`)
}

const head = (kind: string, apiVersion = 'networking.istio.io/v1'): string =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: x}\n`

test('an unknown field is refused with its path and the name that was probably meant', () => {
  const result = parseResource(
    parse(`${head('VirtualService')}spec: {hosts: [a], http: [{route: [{destination: {host: a}, wieght: 1}]}]}`),
  )
  assert.ok(!result.ok)
  assert.deepEqual(result.problems, [
    {
      path: 'spec.http[0].route[0].wieght',
      message: 'unknown field',
      hint: 'did you mean weight?',
      level: 'error',
    },
  ])
})

test('an unknown kind, version or group is refused and names what there is', () => {
  const text = (yaml: string): string => {
    const result = parseResource(parse(yaml))
    assert.ok(!result.ok)
    const [{ path, message, hint }] = result.problems as [(typeof result.problems)[0]]
    return `${path}: ${message} (${hint})`
  }
  assert.match(text(head('VirtualServices')), /^kind: unknown kind "VirtualServices" .*VirtualService/)
  assert.match(text(head('Gateway', 'networking.istio.io/v2')), /^apiVersion: Gateway has no version "v2" .*v1beta1/)
  assert.match(text(head('Gateway', 'gateway.networking.k8s.io/v1')), /is not an Istio API/)
})

test('all served versions parse to the same resource', () => {
  for (const version of ['v1', 'v1beta1', 'v1alpha3']) {
    const result = parseResource(parse(`${head('DestinationRule', `networking.istio.io/${version}`)}spec: {host: a}`))
    assert.ok(result.ok)
    assert.equal(result.value.kind, 'DestinationRule')
    assert.equal(result.value.metadata.namespace, 'default')
  }
})

test('durations become milliseconds, whatever their unit', () => {
  const result = parseResource(
    parse(`${head('VirtualService')}spec: {hosts: [a], http: [{timeout: 1m30s, route: [{destination: {host: a}}]}]}`),
  )
  assert.ok(result.ok && result.value.kind === 'VirtualService')
  assert.equal(result.value.spec.http?.[0]?.timeout, 90_000)
  assert.deepEqual(
    problemsOf(
      `${head('VirtualService')}spec: {hosts: [a], http: [{timeout: fast, route: [{destination: {host: a}}]}]}`,
    ),
    ['spec.http[0].timeout: must be a duration, is "fast"'],
  )
})

test('every problem of a resource is reported, not only the first', () => {
  assert.deepEqual(problemsOf(`${head('VirtualService')}spec: {hosts: 1, http: [{retries: {attempts: x}}], foo: 1}`), [
    'spec.hosts: must be a list, is a number',
    'spec.http[0].retries.attempts: must be an integer, is "x"',
    'spec.foo: unknown field',
  ])
})

const refused: readonly [what: string, yaml: string, problem: RegExp][] = [
  [
    'a VirtualService without routes',
    `${head('VirtualService')}spec: {hosts: [a]}`,
    /must have at least one http, tls or tcp/,
  ],
  [
    'a route without action',
    `${head('VirtualService')}spec: {hosts: [a], http: [{match: [{uri: {prefix: /}}]}]}`,
    /spec\.http\[0\]: must have a route, redirect/,
  ],
  [
    'two actions at once',
    `${head('VirtualService')}spec: {hosts: [a], http: [{redirect: {uri: /}, route: [{destination: {host: a}}]}]}`,
    /only one of route, redirect/,
  ],
  [
    'weights that add up to nothing',
    `${head('VirtualService')}spec: {hosts: [a], http: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]}`,
    /sum of weights/,
  ],
  [
    'a regular expression that RE2 cannot run',
    `${head('VirtualService')}spec: {hosts: [a], http: [{match: [{uri: {regex: "(?=a)"}}], route: [{destination: {host: a}}]}]}`,
    /is not a regular expression of RE2/,
  ],
  [
    'a header match on *',
    `${head('VirtualService')}spec: {hosts: [a], http: [{match: [{headers: {x: {regex: "*"}}}], route: [{destination: {host: a}}]}]}`,
    /is not a regular expression/,
  ],
  [
    'a fault of more than everything',
    `${head('VirtualService')}spec: {hosts: [a], http: [{fault: {abort: {httpStatus: 500, percentage: {value: 101}}}, route: [{destination: {host: a}}]}]}`,
    /must be in range 0\.\.100/,
  ],
  [
    'a retry condition nobody knows',
    `${head('VirtualService')}spec: {hosts: [a], http: [{retries: {attempts: 1, retryOn: 6xx}, route: [{destination: {host: a}}]}]}`,
    /"6xx" is not a valid retryOn policy/,
  ],
  [
    'an SNI outside the hosts',
    `${head('VirtualService')}spec: {hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]}`,
    /is not one of the hosts/,
  ],
  [
    'a wildcard host in the mesh',
    `${head('VirtualService')}spec: {hosts: ["*"], http: [{route: [{destination: {host: a}}]}]}`,
    /wildcard host \*/,
  ],
  ['a gateway without servers', `${head('Gateway')}spec: {selector: {a: b}}`, /must have at least one server/],
  [
    'two servers of one port name',
    `${head('Gateway')}spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}, {port: {number: 81, name: http, protocol: HTTP}, hosts: [a.com]}]}`,
    /is used by another server/,
  ],
  [
    'HTTPS without TLS settings',
    `${head('Gateway')}spec: {servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com]}]}`,
    /tls: is required/,
  ],
  [
    'SIMPLE without certificate',
    `${head('Gateway')}spec: {servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE}}]}`,
    /serverCertificate: is required/,
  ],
  [
    'two subsets of one name',
    `${head('DestinationRule')}spec: {host: a, subsets: [{name: v1}, {name: v1}]}`,
    /"v1" is defined twice/,
  ],
  [
    'a port level policy without port',
    `${head('DestinationRule')}spec: {host: a, trafficPolicy: {portLevelSettings: [{loadBalancer: {simple: RANDOM}}]}}`,
    /portLevelSettings\[0\]\.port: port traffic policy must have a port/,
  ],
  [
    'MUTUAL without key',
    `${head('DestinationRule')}spec: {host: a, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c}}}`,
    /privateKey: is required/,
  ],
  [
    'two hashes',
    `${head('DestinationRule')}spec: {host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}}}`,
    /only one of httpHeaderName/,
  ],
  ['an exclusion by another sign', `${head('Sidecar')}spec: {egress: [{hosts: ["!a/reviews"]}]}`, /not a namespace/],
  ['an egress host without namespace', `${head('Sidecar')}spec: {egress: [{hosts: [reviews]}]}`, /namespace\/dnsName/],
  [
    'DENY without rules',
    `${head('AuthorizationPolicy', 'security.istio.io/v1')}spec: {action: DENY}`,
    /DENY without rules has no effect/,
  ],
  [
    'a policy on a port that is none',
    `${head('AuthorizationPolicy', 'security.istio.io/v1')}spec: {rules: [{to: [{operation: {ports: ["x"]}}]}]}`,
    /"x" is not a port/,
  ],
]

for (const [what, yaml, problem] of refused) {
  test(`refuses ${what}`, () => {
    const result = parseResource(parse(yaml))
    assert.ok(!result.ok, 'accepted')
    assert.match(result.problems.map((p) => `${p.path}: ${p.message}`).join('\n'), problem)
  })
}

test('a rule that is never reached is a warning, not an error', () => {
  assert.deepEqual(
    problemsOf(
      `${head('VirtualService')}spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}, {route: [{destination: {host: b}}]}]}`,
    ),
    ['(warning) spec.http[1]: virtualService rule #1 not used (only the last rule can have no matches)'],
  )
})

test('garbage of any shape is refused, never thrown', () => {
  for (const input of [null, 1, 'x', [], {}, { apiVersion: 1 }, { apiVersion: 'a/b', kind: [] }, { kind: {} }]) {
    assert.equal(parseResource(input).ok, false)
  }
  const deep = JSON.parse('{"__proto__": {"x": 1}}') as unknown
  const result = parseResource({
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: { name: 'x', labels: deep },
    spec: { host: 'a', subsets: [{ name: 'v1', labels: JSON.parse('{"__proto__": "x"}') }] },
  })
  assert.equal(({} as { x?: number }).x, undefined)
  assert.equal(result.ok, false)
})

test('numbers that no proxy could be told are refused', () => {
  const route = (weight: number) => ({ destination: { host: 'a' }, weight })
  const problems = (http: unknown) => {
    const result = parseResource({
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'a', namespace: 'default' },
      spec: { hosts: ['a'], http: [http] },
    })
    return result.ok ? [] : result.problems.map(({ path, message }) => `${path} ${message}`)
  }
  assert.deepEqual(problems({ route: [route(2 ** 32 - 1), route(0)] }), [])
  assert.deepEqual(problems({ route: [route(2 ** 32 - 1), route(1)] }), [
    'spec.http[0].route the sum of weights must be at most 4294967295',
  ])
  assert.equal(problems({ route: [route(1)], retries: { attempts: 2 ** 31 } }).length, 1)
})

test('a header value is one of the formats of Envoy', () => {
  const problems = (value: string) => {
    const result = parseResource({
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'a', namespace: 'default' },
      spec: {
        hosts: ['a'],
        http: [{ route: [{ destination: { host: 'a' } }], headers: { request: { set: { x: value } } } }],
      },
    })
    return result.ok ? [] : result.problems.map(({ message }) => message)
  }
  for (const good of ['', 'a', '100%%', '%START_TIME(%s.%3f)%', 'a %REQ(X-Y?:path):10% b', '%UPSTREAM_HOST%']) {
    assert.deepEqual(problems(good), [], good)
  }
  for (const bad of ['%', '100%', '%a%', '%REQ(']) assert.deepEqual(problems(bad), ['"%" stands alone'], bad)
  assert.deepEqual(problems('a\nb'), ['header value must not hold line breaks'])
})
