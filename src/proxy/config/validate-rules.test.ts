import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { HttpConnectionManagerSchema } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { parseJson } from './json.ts'
import { characters } from './string-rules.ts'
import { checkRules } from './validate-rules.ts'

function check(desc: Parameters<typeof parseJson>[0], json: unknown): void {
  checkRules(desc, parseJson(desc, json, { path: '' }), '')
}

describe('validate.rules', () => {
  it('accepts what Envoy accepts', () => {
    check(ClusterSchema, { name: 'a', connect_timeout: '1s', type: 'STATIC' })
    check(HttpConnectionManagerSchema, {
      stat_prefix: 'x',
      rds: { config_source: { ads: {} }, route_config_name: 'r' },
    })
  })
  it('names the field of a missing string', () => {
    assert.throws(
      () => check(ClusterSchema, { connect_timeout: '1s' }),
      /^ConfigError: name: must have at least 1 character/,
    )
  })
  it('counts characters, not code units', () => {
    assert.equal(characters('a😀é'), 3)
    assert.equal(characters(''), 0)
    assert.equal(characters('\ud83d'), 1)
  })
  it('checks durations', () => {
    assert.throws(
      () => check(ClusterSchema, { name: 'a', connect_timeout: '0s' }),
      /connect_timeout: must be greater than 0s/,
    )
  })
  it('checks required oneofs', () => {
    assert.throws(
      () => check(HttpConnectionManagerSchema, { stat_prefix: 'x' }),
      /one of rds, route_config, scoped_routes is required/,
    )
  })
  it('descends into lists with the index in the path', () => {
    const json = {
      virtual_hosts: [
        { name: 'a', domains: ['*'] },
        { name: 'b', domains: [] },
      ],
    }
    assert.throws(
      () => check(RouteConfigurationSchema, json),
      /^ConfigError: virtual_hosts\[1\]\.domains: needs at least 1 item/,
    )
  })
  it('checks numbers in wrappers', () => {
    const json = { name: 'a', outlier_detection: { max_ejection_percent: 101 } }
    assert.throws(() => check(ClusterSchema, json), /outlier_detection\.max_ejection_percent: must be at most 100/)
  })
  it('checks header names and required messages', () => {
    const route = (r: object): object => ({ virtual_hosts: [{ name: 'a', domains: ['*'], routes: [r] }] })
    const match = { prefix: '/', headers: [{ name: 'a\nb', present_match: true }] }
    assert.throws(
      () => check(RouteConfigurationSchema, route({ match, route: { cluster: 'x' } })),
      /headers\[0\]\.name: must be an HTTP header name/,
    )
    assert.throws(
      () => check(RouteConfigurationSchema, route({ route: { cluster: 'x' } })),
      /routes\[0\]\.match: value is required/,
    )
  })
})

describe('configuration JSON', () => {
  it('says where an unknown field is and what it may have been', () => {
    assert.throws(
      () => check(ClusterSchema, { name: 'a', conect_timeout: '1s' }),
      /^ConfigError: conect_timeout: unknown field of envoy.config.cluster.v3.Cluster; did you mean connect_timeout\?/,
    )
  })
  it('descends into typed_config', () => {
    const json = {
      name: 'a',
      transport_socket: {
        name: 't',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
          snii: 'x',
        },
      },
    }
    assert.throws(() => check(ClusterSchema, json), /transport_socket\.typed_config\.snii: unknown field/)
  })
  it('names an unknown extension', () => {
    const json = {
      name: 'a',
      transport_socket: { name: 't', typed_config: { '@type': 'type.googleapis.com/no.Such' } },
    }
    assert.throws(() => check(ClusterSchema, json), /typed_config: unknown type URL type.googleapis.com\/no.Such/)
  })
})
