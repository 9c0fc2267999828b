// Conditions of RBAC policies and CEL matchers, given as syntax trees: real Envoy and ours on one bootstrap answer each
// expression alike, and what Envoy does not build is refused.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { parse } from '@bufbuild/cel'
import { type DescMessage, type Message, toJson } from '@bufbuild/protobuf'
import { ExprSchema as CelExprSchema } from '../../src/api/gen/cel/expr/syntax_pb.js'
import { ExprSchema } from '../../src/api/gen/google/api/expr/v1alpha1/syntax_pb.js'
import { parseJson } from '../../src/proxy/config/json.ts'
import { parseCelTree } from '../../src/proxy/observe/cel-tree.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`

/** What both build. Missing attributes are errors, and errors are no match. */
const EXPRESSIONS = [
  `request.path == '/a?x=1'`,
  `request.url_path.startsWith('/a')`,
  `request.method == 'GET'`,
  `request.headers['x-a'] == 'b'`,
  `'x-a' in request.headers`,
  `has(request.headers.foo)`,
  `request.headers['missing'] != 'x'`,
  `request.headers[':path'] == '/a?x=1'`,
  `request.host == 'h'`,
  `request.query == 'x=1'`,
  `request.size == 0`,
  `request.size == 0u`,
  `request.size < 1.5`,
  `request.total_size > 10`,
  `request.duration == duration('0s')`,
  `request.time > timestamp('2020-01-01T00:00:00Z')`,
  `request.protocol == 'HTTP/1.1'`,
  `request.scheme == 'http'`,
  `request.useragent == 'ua' && request.referer == 'r'`,
  `request.id != ''`,
  `request.nosuch == 'x'`,
  `request.path`,
  `request == null`,
  `request.path.matches('^/a.*')`,
  `request.path.contains('x') && request.path.endsWith('1')`,
  `size(request.path) == 6 && request.path.size() > 2`,
  `request.path in ['/a?x=1', 'b']`,
  `int(request.headers['x-n']) == 5`,
  // As functions, which Envoy's own examples write.
  `contains(request.useragent, 'ua')`,
  `startsWith(request.path, '/a') && endsWith(request.path, '1')`,
  `matches(request.path, '^/a.*')`,
  `contains(request.headers.referer, 'r')`,
  `request.time.getFullYear() > 2000`,
  `bool('true') && size(bytes('ab')) == 2 && double('1') == 1.0 && uint('1') == 1u && dyn(1) == 1`,
  `{'a': 1}.a == 1 && (request.path == '' ? false : -(1) == -1)`,
  `response.code == 200`,
  `!(has(response.code))`,
  `response.flags == 0`,
  `connection.mtls`,
  `connection.mtls == false`,
  `connection.requested_server_name == ''`,
  `connection.id > 0u`,
  `connection.id > 0`,
  `source.address.startsWith('127.0.0.1:') && source.port > 1`,
  `destination.port > 0`,
  `upstream.port == 1`,
  `metadata.filter_metadata.foo.bar == 'x'`,
  `has(metadata.filter_metadata)`,
  `filter_state['a'] == 'b'`,
  `has(filter_state.a)`,
  `xds.route_name == 'r1'`,
  `xds.cluster_name == 'c'`,
  `xds.route_metadata.filter_metadata.a.b == 'c'`,
  `xds.filter_chain_name == ''`,
  `nosuch.x == 1`,
  `true || nosuch.x == 1`,
  `1 + 1 == 2`,
]

/** What neither builds. */
const REFUSED: readonly (readonly [expression: string, reason: RegExp])[] = [
  [`request.headers.exists(k, k == 'x-a')`, /Comprehension support is disabled/],
  [`[1, 2].map(x, x).size() > 0`, /Comprehension support is disabled/],
  [`nosuchfunc(request.path)`, /No overload found in reference resolve step for nosuchfunc/],
  [`string(destination.port) != ''`, /No overload found in reference resolve step for string/],
  [`getFullYear(request.time) > 2000`, /reference resolve step for getFullYear/],
  [`'5'.int() == 5`, /reference resolve step for int/],
  [`contains(request.path)`, /reference resolve step for contains/],
  [`request.path.lowerAscii() == 'a'`, /No overload found in reference resolve step for lowerAscii/],
]

function newTree(expression: string): object {
  const { expr } = parse(expression) as unknown as { expr: Message }
  return toJson(CelExprSchema as DescMessage, expr) as object
}

function tree(expression: string): object {
  const { expr } = parse(expression) as unknown as { expr: Message }
  return toJson(ExprSchema as DescMessage, renamed(expr) as Message) as object
}

/** CEL's own messages under the names that they had before, which configurations use. */
function renamed(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/^cel\.expr\./, 'google.api.expr.v1alpha1.')
  if (Array.isArray(value)) return value.map(renamed)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, renamed(inner)]))
}

function condition(expression: string): object {
  const everybody = { permissions: [{ any: true }], principals: [{ any: true }] }
  return { policies: { p: { ...everybody, condition: tree(expression) } } }
}

function matcher(expression: string): object {
  const extension = (name: string, of: string, fields: object = {}): object => ({
    name,
    typed_config: { '@type': `type.googleapis.com/${of}`, ...fields },
  })
  const predicate = {
    input: extension('input', 'xds.type.matcher.v3.HttpAttributesCelMatchInput'),
    custom_match: extension('cel', 'xds.type.matcher.v3.CelMatcher', {
      expr_match: { cel_expr_parsed: { expr: newTree(expression) } },
    }),
  }
  const action = extension('action', 'envoy.config.rbac.v3.Action', { name: 'p' })
  return { matcher_list: { matchers: [{ predicate: { single_predicate: predicate }, on_match: { action } }] } }
}

function bootstrap(ports: Ports): object {
  const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
  const rbac = (fields: object): object => ({
    'envoy.filters.http.rbac': { '@type': type('extensions.filters.http.rbac.v3.RBACPerRoute'), rbac: fields },
  })
  const routes = EXPRESSIONS.map((expression, i) => ({
    name: 'r1',
    match: { prefix: '/', headers: [{ name: 'x-case', string_match: { exact: String(i) } }] },
    metadata: { filter_metadata: { a: { b: 'c' } } },
    direct_response: { status: 200 },
    typed_per_filter_config:
      i % 2 === 0 ? rbac({ rules: condition(expression) }) : rbac({ matcher: matcher(expression) }),
  }))
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: address(ports.listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 'i',
                    route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes }] },
                    http_filters: [
                      {
                        name: 'envoy.filters.http.rbac',
                        typed_config: { '@type': type('extensions.filters.http.rbac.v3.RBAC') },
                      },
                      { name: 'router', typed_config: { '@type': type('extensions.filters.http.router.v3.Router') } },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
    },
  }
}

/** The status line. */
function ask(proxy: RunningProxy, i: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(proxy.ports.listener, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
      if (!text.includes('\r\n\r\n')) return
      socket.destroy()
      resolve(text.split('\r\n')[0]!)
    })
    socket.on('end', () => reject(new Error(`ended after ${JSON.stringify(text)}`)))
    socket.on('error', reject)
    socket.write(
      `GET /a?x=1 HTTP/1.1\r\nhost: h\r\nx-case: ${i}\r\nx-a: b\r\nx-n: 5\r\nuser-agent: ua\r\nreferer: r\r\nconnection: close\r\n\r\n`,
    )
  })
}

describe('CEL conditions', { skip: envoyBinary() === null ? 'real Envoy is not installed' : false }, () => {
  let sides: RunningProxy[] = []
  before(async () => {
    sides = [await startProxy('envoy', bootstrap), await startProxy('outrigger', bootstrap)]
  })
  after(() => Promise.all(sides.map((side) => side.stop())))

  for (const [i, expression] of EXPRESSIONS.entries()) {
    test(expression, async () => {
      const [theirs, mine] = await Promise.all(sides.map((side) => ask(side, i)))
      assert.equal(mine, theirs)
    })
  }
})

test('what Envoy does not build is refused, in its words', () => {
  for (const [expression, reason] of REFUSED)
    assert.throws(() => parseCelTree(parseJson(ExprSchema, tree(expression), { path: '' }), 'condition'), reason)
})
