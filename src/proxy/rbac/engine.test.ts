import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import { RBACSchema } from '../../api/gen/envoy/config/rbac/v3/rbac_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { HeaderMap } from '../http/header-map.ts'
import type { Address, ConnectionInfo, SslInfo } from '../network/connection.ts'
import { FilterState } from '../network/filter.ts'
import { StreamInfo } from '../stream-info.ts'
import { parseRules, refuseHeaders } from './config.ts'
import { compileRules, type RbacEngine, type RbacFacts } from './engine.ts'

function engine(json: JsonValue): RbacEngine {
  return compileRules(parseRules(fromJson(RBACSchema, json, { registry: typeRegistry }), 'rules'))
}

function address(ip: string, port: number): Address {
  return { ip, port, text: `${ip}:${port}` }
}

function facts(
  change: {
    method?: string
    path?: string
    headers?: Record<string, string>
    ssl?: Partial<SslInfo>
    remote?: string
    port?: number
    tcp?: boolean
  } = {},
): RbacFacts {
  const headers = new HeaderMap()
  headers.method = change.method ?? 'GET'
  headers.path = change.path ?? '/'
  for (const [name, value] of Object.entries(change.headers ?? {})) headers.add(name, value)
  const ssl =
    change.ssl &&
    ({
      peerCertificatePresented: true,
      uriSanPeer: [],
      dnsSanPeer: [],
      subjectPeer: '',
      ...change.ssl,
    } as unknown as SslInfo)
  return {
    headers: change.tcp ? null : headers,
    localAddress: address('10.0.0.2', change.port ?? 9080),
    remoteAddress: address(change.remote ?? '10.0.0.1', 1000),
    directRemoteAddress: address('10.0.0.9', 1000),
    requestedServerName: '',
    ssl: ssl ?? null,
    transportProtocol: 'raw_buffer',
    applicationProtocols: [],
    metadata: { jwt: { payload: { iss: 'me', groups: ['a', 'b'] } } },
    filterState: new FilterState(),
    stream: new StreamInfo({} as ConnectionInfo, null),
  }
}

const any = [{ any: true }]
const policy = (permissions: JsonValue, principals: JsonValue = any): JsonValue => ({
  policies: { p: { permissions, principals } },
})

describe('RBAC engine', () => {
  it('ALLOW without policies denies everything, DENY without policies allows it', () => {
    assert.deepEqual(engine({})(facts()), { allowed: false, policy: '', log: null })
    assert.deepEqual(engine({ action: 'DENY' })(facts()), { allowed: true, policy: '', log: null })
  })
  it('tries policies in the order of their names', () => {
    const rules = engine({
      action: 'DENY',
      policies: { b: { permissions: any, principals: any }, a: { permissions: any, principals: any } },
    })
    assert.deepEqual(rules(facts()), { allowed: false, policy: 'a', log: null })
  })
  it('compares the path without its query', () => {
    const rules = engine(policy([{ urlPath: { path: { exact: '/info' } } }]))
    assert.equal(rules(facts({ path: '/info?x=1' })).allowed, true)
    assert.equal(rules(facts({ path: '/info/' })).allowed, false)
  })
  it('combines permissions and principals', () => {
    const rules = engine(
      policy(
        [
          {
            andRules: {
              rules: [
                { header: { name: ':method', stringMatch: { exact: 'GET' } } },
                { notRule: { destinationPort: 80 } },
              ],
            },
          },
        ],
        [
          {
            orIds: {
              ids: [
                { remoteIp: { addressPrefix: '10.1.0.0', prefixLen: 16 } },
                { authenticated: { principalName: { exact: 'spiffe://td/ns/a/sa/b' } } },
              ],
            },
          },
        ],
      ),
    )
    assert.equal(rules(facts({ remote: '10.1.2.3' })).allowed, true)
    assert.equal(rules(facts({ remote: '10.2.2.3' })).allowed, false)
    assert.equal(rules(facts({ ssl: { uriSanPeer: ['spiffe://td/ns/a/sa/b'] } })).allowed, true)
    assert.equal(rules(facts({ remote: '10.1.2.3', port: 80 })).allowed, false)
    assert.equal(rules(facts({ remote: '10.1.2.3', method: 'POST' })).allowed, false)
  })
  it('authenticated falls back from URI to DNS names to the subject', () => {
    const rules = engine(policy(any, [{ authenticated: { principalName: { exact: 'x' } } }]))
    assert.equal(rules(facts({ ssl: { dnsSanPeer: ['x'] } })).allowed, true)
    assert.equal(rules(facts({ ssl: { subjectPeer: 'x' } })).allowed, true)
    assert.equal(rules(facts({ ssl: { uriSanPeer: ['y'], dnsSanPeer: ['x'] } })).allowed, false)
    assert.equal(rules(facts()).allowed, false)
  })
  it('matches nested metadata and lists', () => {
    const metadata = (path: string[], value: JsonValue): JsonValue => ({
      metadata: { filter: 'jwt', path: path.map((key) => ({ key })), value },
    })
    assert.equal(
      engine(policy(any, [metadata(['payload', 'iss'], { stringMatch: { prefix: 'm' } })]))(facts()).allowed,
      true,
    )
    assert.equal(
      engine(policy(any, [metadata(['payload', 'groups'], { listMatch: { oneOf: { stringMatch: { exact: 'b' } } } })]))(
        facts(),
      ).allowed,
      true,
    )
    assert.equal(
      engine(policy(any, [metadata(['payload', 'none'], { stringMatch: { exact: 'b' } })]))(facts()).allowed,
      false,
    )
  })
  it('header and path conditions do not match on TCP', () => {
    assert.equal(engine(policy([{ urlPath: { path: { prefix: '/' } } }]))(facts({ tcp: true })).allowed, false)
  })
  it('matches URI templates', () => {
    const template = (pathTemplate: string): RbacEngine =>
      engine(
        policy([
          {
            uriTemplate: {
              name: 't',
              typedConfig: {
                '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
                pathTemplate,
              },
            },
          },
        ]),
      )
    assert.equal(template('/a/*/c')(facts({ path: '/a/b/c' })).allowed, true)
    assert.equal(template('/a/*/c')(facts({ path: '/a/b/b/c' })).allowed, false)
    assert.equal(template('/a/**')(facts({ path: '/a/b/b/c' })).allowed, true)
    assert.throws(() => template('a/*'), /does not start with/)
  })
})

describe('rules that are refused', () => {
  const rules = (permission: JsonValue, principal: JsonValue = { any: true }) =>
    parseRules(
      fromJson(
        RBACSchema,
        { policies: { p: { permissions: [permission], principals: [principal] } } },
        { registry: typeRegistry },
      ),
      'rules',
    )
  const header: JsonValue = { header: { name: 'a', present_match: true } }

  it('headers of connections, however deep', () => {
    const deep: JsonValue = { not_id: { or_ids: { ids: [{ any: true }, { and_ids: { ids: [header] } }] } } }
    for (const parsed of [rules(header), rules({ not_rule: header }), rules({ any: true }, deep)])
      assert.throws(() => refuseHeaders(parsed, 'rules'), /^ConfigError: rules\.policies\["p"\]: a header rule/)
    refuseHeaders(rules({ url_path: { path: { exact: '/' } } }), 'rules')
  })

  it('ports beyond the last', () => {
    rules({ destination_port_range: { start: 1, end: 65_536 } })
    assert.throws(
      () => rules({ destination_port_range: { start: 1, end: 65_537 } }),
      /range end 65537 is out of bounds/,
    )
    assert.throws(() => rules({ destination_port_range: { start: -1, end: 5 } }), /range start -1 is out of bounds/)
  })
})
