import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { clusterOf, request, routes, routeTable, streamInfo } from './testing.ts'

const ROUTER = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'

describe('virtual hosts', () => {
  const table = routeTable({
    name: 'r',
    ignore_port_in_host_matching: true,
    virtual_hosts: [
      ['any', '*'],
      ['suffix', '*.example'],
      ['longer', '*.b.example'],
      ['prefix', 'www.*'],
      ['exact', 'www.b.example'],
      ['v6', '[::1]'],
    ].map(([name, domain]) => ({
      name,
      domains: [domain],
      routes: [{ match: { prefix: '/' }, route: { cluster: name } }],
    })),
  })

  const cases: readonly (readonly [host: string, cluster: string])[] = [
    ['www.b.example', 'exact'],
    ['WWW.B.Example:8080', 'exact'],
    ['x.b.example', 'longer'],
    ['x.example', 'suffix'],
    ['www.other', 'prefix'],
    ['.example', 'any'],
    ['www.', 'any'],
    ['other', 'any'],
    ['[::1]:80', 'v6'],
  ]
  for (const [host, cluster] of cases) {
    test(`${host} → ${cluster}`, () => assert.equal(clusterOf(table, request('/', {}, host)), cluster))
  }

  test('a virtual host without a matching route does not fall back to another', () => {
    const strict = routeTable({
      name: 'r',
      virtual_hosts: [
        { name: 'a', domains: ['a'], routes: [{ match: { path: '/only' }, route: { cluster: 'a' } }] },
        { name: 'any', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'any' } }] },
      ],
    })
    assert.equal(clusterOf(strict, request('/other', {}, 'a')), null)
  })
})

describe('route match', () => {
  const matches = (match: object, path: string, headers: Record<string, string> = {}): boolean =>
    clusterOf(routes([{ match, route: { cluster: 'c' } }]), request(path, headers)) === 'c'

  test('prefix, path and path_separated_prefix look at the path without its query', () => {
    assert.equal(matches({ prefix: '/a' }, '/ab?x'), true)
    assert.equal(matches({ prefix: '/a?' }, '/a?x'), false)
    assert.equal(matches({ path: '/a' }, '/a?x'), true)
    assert.equal(matches({ path: '/a' }, '/a/'), false)
    assert.equal(matches({ path_separated_prefix: '/a' }, '/a'), true)
    assert.equal(matches({ path_separated_prefix: '/a' }, '/a/b'), true)
    assert.equal(matches({ path_separated_prefix: '/a' }, '/ab'), false)
  })

  test('case_sensitive: false folds literals', () => {
    assert.equal(matches({ prefix: '/A', case_sensitive: false }, '/ab'), true)
    assert.equal(matches({ path: '/Ab', case_sensitive: false }, '/aB'), true)
    assert.equal(matches({ prefix: '/A' }, '/ab'), false)
  })

  test('regex matches the whole path; literal.* is the same as the automaton', () => {
    assert.equal(matches({ safe_regex: { regex: '/b[io]t' } }, '/bit?q'), true)
    assert.equal(matches({ safe_regex: { regex: '/b[io]t' } }, '/bite'), false)
    assert.equal(matches({ safe_regex: { regex: '/api/.*' } }, '/api/x'), true)
    assert.equal(matches({ safe_regex: { regex: '/a|/b' } }, '/b'), true)
    assert.equal(matches({ safe_regex: { regex: '/a|/b' } }, '/b/'), false)
  })

  test('query parameters compare the first value as written', () => {
    const exact = { prefix: '/', query_parameters: [{ name: 'k', string_match: { exact: 'v' } }] }
    assert.equal(matches(exact, '/?k=v&k=w'), true)
    assert.equal(matches(exact, '/?k=w&k=v'), false)
    assert.equal(matches({ prefix: '/', query_parameters: [{ name: 'k', present_match: true }] }, '/?a&k'), true)
    assert.equal(matches({ prefix: '/', query_parameters: [{ name: 'k' }] }, '/?kk=1'), false)
  })

  test('one of several values of a header is enough, they are not joined', () => {
    const exact = (value: string): object => ({
      prefix: '/',
      headers: [{ name: 'X-A', string_match: { exact: value } }],
    })
    const table = routes([
      { match: exact('1,2'), route: { cluster: 'joined' } },
      { match: exact('2'), route: { cluster: 'each' } },
    ])
    const headers = request('/')
    headers.add('x-a', '1')
    headers.add('x-a', '2')
    assert.equal(clusterOf(table, headers), 'each')
  })

  test('range, grpc and fractions', () => {
    const range = { prefix: '/', headers: [{ name: 'n', range_match: { start: -1, end: 5 } }] }
    assert.equal(matches(range, '/', { n: '-1' }), true)
    assert.equal(matches(range, '/', { n: '5' }), false)
    assert.equal(matches(range, '/', { n: '1x' }), false)
    assert.equal(matches({ prefix: '/', grpc: {} }, '/', { 'content-type': 'application/grpc+proto' }), true)
    assert.equal(matches({ prefix: '/', grpc: {} }, '/', { 'content-type': 'application/grpc-web' }), false)
    const half = routes([
      { match: { prefix: '/', runtime_fraction: { default_value: { numerator: 50 } } }, route: { cluster: 'a' } },
      { match: { prefix: '/' }, route: { cluster: 'b' } },
    ])
    assert.equal(clusterOf(half, request('/'), 499_999), 'a')
    assert.equal(clusterOf(half, request('/'), 500_000), 'b')
  })
})

test('the index answers what a scan in configured order would', () => {
  const segment = fc.constantFrom('a', 'ab', 'b', 'abc', '')
  const path = fc.array(segment, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`)
  const kind = fc.constantFrom('prefix', 'path', 'path_separated_prefix', 'regex')
  const entry = fc.record({ kind, path, header: fc.boolean() })
  const fits = (e: { kind: string; path: string; header: boolean }, wanted: string, marked: boolean): boolean => {
    if (e.header && !marked) return false
    const literal = e.path.replace(/\/+$/, '') || '/x'
    switch (e.kind) {
      case 'prefix':
        return wanted.startsWith(e.path)
      case 'path':
      case 'regex':
        return wanted === e.path
      default:
        return wanted === literal || wanted.startsWith(`${literal}/`)
    }
  }
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 30 }), path, fc.boolean(), (entries, wanted, marked) => {
      const table = routes(
        entries.map((e, i) => ({
          match: {
            ...(e.kind === 'regex'
              ? { safe_regex: { regex: e.path } }
              : { [e.kind]: e.kind === 'path_separated_prefix' ? e.path.replace(/\/+$/, '') || '/x' : e.path }),
            ...(e.header ? { headers: [{ name: 'mark', present_match: true }] } : {}),
          },
          route: { cluster: String(i) },
        })),
      )
      const expected = entries.findIndex((e) => fits(e, wanted, marked))
      const got = clusterOf(table, request(wanted, marked ? { mark: '1' } : {}))
      assert.equal(got, expected < 0 ? null : String(expected))
    }),
    { numRuns: 300, seed: 7 },
  )
})

describe('weighted clusters', () => {
  const table = routes([
    {
      match: { prefix: '/' },
      route: {
        weighted_clusters: {
          clusters: [
            { name: 'a', weight: 10, request_headers_to_add: [{ header: { key: 'x-of', value: 'a' } }] },
            { name: 'b', weight: 90, host_rewrite_literal: 'b.example' },
          ],
        },
      },
      request_headers_to_add: [{ header: { key: 'x-of', value: 'route' } }],
    },
  ])

  test('the stream random number draws', () => {
    assert.equal(clusterOf(table, request('/'), 9), 'a')
    assert.equal(clusterOf(table, request('/'), 10), 'b')
    assert.equal(clusterOf(table, request('/'), 109), 'a')
  })

  test('the chosen cluster adds its own headers before the route and rewrites the host', () => {
    const first = request('/')
    table.route(first, streamInfo(), 0)!.finalizeRequestHeaders(first, streamInfo(), true)
    assert.equal(first.getAll('x-of'), 'a,route')
    const second = request('/')
    table.route(second, streamInfo(), 50)!.finalizeRequestHeaders(second, streamInfo(), true)
    assert.equal(second.authority, 'b.example')
    assert.equal(second.get('x-envoy-original-host'), 'a.example')
  })
})

describe('refused configurations', () => {
  const refused: readonly (readonly [what: string, config: object, message: RegExp])[] = [
    ['a regex that does not parse', { match: { safe_regex: { regex: '/(+' } }, route: { cluster: 'c' } }, /safe_regex/],
    [
      'a reserved header',
      {
        match: { prefix: '/' },
        route: { cluster: 'c' },
        request_headers_to_add: [{ header: { key: ':path', value: 'x' } }],
      },
      /may not be modified/,
    ],
    [
      'a bad format',
      {
        match: { prefix: '/' },
        route: { cluster: 'c' },
        request_headers_to_add: [{ header: { key: 'a', value: '%NOPE%' } }],
      },
      /request_headers_to_add\[0\]/,
    ],
    [
      'a substitution without its group',
      {
        match: { prefix: '/' },
        route: { cluster: 'c', regex_rewrite: { pattern: { regex: 'a' }, substitution: '\\1' } },
      },
      /refers to a group/,
    ],
    [
      'a feature that is not there',
      {
        match: { prefix: '/' },
        route: {
          cluster: 'c',
          rate_limits: [{ actions: [{ extension: { name: 'e', typed_config: { '@type': ROUTER } } }] }],
        },
      },
      /not supported by this proxy/,
    ],
  ]
  for (const [what, route, message] of refused) test(what, () => assert.throws(() => routes([route]), message))
})

test('regex_rewrite replaces every match in the path and leaves the query', () => {
  const table = routes([
    {
      match: { prefix: '/' },
      route: { cluster: 'c', regex_rewrite: { pattern: { regex: '/v(\\d)/' }, substitution: '/\\1-\\1/' } },
    },
  ])
  const headers = request('/v1/x/v2/y?z=/v3/')
  table.route(headers, streamInfo(), 0)!.finalizeRequestHeaders(headers, streamInfo(), true)
  assert.equal(headers.path, '/1-1/x/2-2/y?z=/v3/')
  assert.equal(headers.get('x-envoy-original-path'), '/v1/x/v2/y?z=/v3/')
})

test('uri templates match and rewrite by variable', () => {
  const uri = 'type.googleapis.com/envoy.extensions.path'
  const table = routes([
    {
      match: {
        path_match_policy: {
          name: 'm',
          typed_config: {
            '@type': `${uri}.match.uri_template.v3.UriTemplateMatchConfig`,
            path_template: '/api/{id}/{rest=**}',
          },
        },
      },
      route: {
        cluster: 'c',
        path_rewrite_policy: {
          name: 'r',
          typed_config: {
            '@type': `${uri}.rewrite.uri_template.v3.UriTemplateRewriteConfig`,
            path_template_rewrite: '/{rest}/of/{id}',
          },
        },
      },
    },
  ])
  const headers = request('/api/7/a/b?q')
  table.route(headers, streamInfo(), 0)!.finalizeRequestHeaders(headers, streamInfo(), true)
  assert.equal(headers.path, '/a/b/of/7?q')
  assert.equal(clusterOf(table, request('/api/')), null)
})
