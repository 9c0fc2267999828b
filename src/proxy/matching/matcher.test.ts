import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import { StringValueSchema } from '@bufbuild/protobuf/wkt'
import { MatcherSchema } from '../../api/gen/xds/type/matcher/v3/matcher_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { createParseContext, ExtensionRegistry } from '../config/extension-registry.ts'
import { HeaderMap } from '../http/header-map.ts'
import type { ConnectionInfo } from '../network/connection.ts'
import { FilterState } from '../network/filter.ts'
import { NO_RUNTIME } from '../route/testing.ts'
import { StreamInfo } from '../stream-info.ts'
import { parseMatcher } from './config.ts'
import { FILTER_CHAIN_INPUTS, HTTP_RBAC_INPUTS, type InputKind, type MatchFacts } from './inputs.ts'
import { compileMatcher } from './matcher.ts'

const T = 'type.googleapis.com/'
const network = (name: string): JsonValue => ({
  name: 'i',
  typed_config: { '@type': `${T}envoy.extensions.matching.common_inputs.network.v3.${name}Input` },
})
const on = (value: string): JsonValue => ({
  action: { name: 'a', typed_config: { '@type': `${T}google.protobuf.StringValue`, value } },
})

function matcher(
  json: JsonValue,
  inputs: ReadonlySet<InputKind> = FILTER_CHAIN_INPUTS,
): (facts: Partial<MatchFacts>) => string | null {
  const data = parseMatcher(
    fromJson(MatcherSchema, json, { registry: typeRegistry }),
    { inputs, action: (action, context) => context.unpack(action.typedConfig!, StringValueSchema).value },
    createParseContext(new ExtensionRegistry()),
  )
  // Workers get a clone.
  const match = compileMatcher(structuredClone(data), { runtime: NO_RUNTIME, stats: null })
  return (facts) => match({ ...NOBODY, ...facts })
}

const address = (ip: string, port: number): MatchFacts['localAddress'] => ({ ip, port, text: `${ip}:${port}` })
const NOBODY: MatchFacts = {
  headers: null,
  localAddress: address('10.0.0.1', 80),
  remoteAddress: address('10.0.0.2', 4000),
  directRemoteAddress: address('10.0.0.3', 4001),
  requestedServerName: '',
  transportProtocol: 'raw_buffer',
  applicationProtocols: [],
  ssl: null,
  filterState: new FilterState(),
  stream: new StreamInfo({} as ConnectionInfo, null),
}

const byPort = (map: Record<string, JsonValue>): JsonValue => ({
  matcher_tree: { input: network('DestinationPort'), exact_match_map: { map } },
})

describe('matcher', () => {
  it('falls back to on_no_match when a nested tree finds nothing', () => {
    const match = matcher({
      ...(byPort({ 80: { matcher: byPort({ 1: on('never') }) }, 81: on('eighty-one') }) as object),
      on_no_match: on('rest'),
    })
    assert.equal(match({}), 'rest')
    assert.equal(match({ localAddress: address('10.0.0.1', 81) }), 'eighty-one')
  })

  it('matches nothing without an input', () => {
    const match = matcher({
      matcher_list: {
        matchers: [
          {
            predicate: {
              single_predicate: {
                input: network('ServerName'),
                value_match: { safe_regex: { google_re2: {}, regex: '.*' } },
              },
            },
            on_match: on('named'),
          },
          {
            predicate: {
              not_matcher: { single_predicate: { input: network('DestinationPort'), value_match: { prefix: '8' } } },
            },
            on_match: on('no port'),
          },
        ],
      },
    })
    assert.equal(match({}), null)
    assert.equal(match({ requestedServerName: 'a' }), 'named')
    // A Unix socket has no port.
    assert.equal(match({ localAddress: { ip: '', port: 0, pipe: '/p', text: '/p' } }), 'no port')
  })

  it('joins the values of a header', () => {
    const match = matcher(
      {
        matcher_tree: {
          input: {
            name: 'i',
            typed_config: { '@type': `${T}envoy.type.matcher.v3.HttpRequestHeaderMatchInput`, header_name: 'X-A' },
          },
          prefix_match_map: { map: { 'one,': on('more'), one: on('one') } },
        },
      },
      HTTP_RBAC_INPUTS,
    )
    const headers = new HeaderMap()
    assert.equal(match({ headers }), null)
    headers.add('x-a', 'one')
    assert.equal(match({ headers }), 'one')
    headers.add('x-a', 'two')
    assert.equal(match({ headers }), 'more')
  })

  it('refuses inputs and matchers by name', () => {
    assert.throws(
      () => matcher(byPort({ 80: on('a') }), new Set<InputKind>(['request_header'])),
      /matcher_tree\.input: input "i" of type .*DestinationPortInput cannot be matched here; possible are: request_header/,
    )
    const custom = { name: 'c', typed_config: { '@type': `${T}google.protobuf.StringValue`, value: '' } }
    assert.throws(
      () => matcher({ matcher_tree: { input: network('DestinationPort'), custom_match: custom } }),
      /matcher_tree\.custom_match: no custom matcher extension "c" of type google\.protobuf\.StringValue/,
    )
    assert.throws(
      () =>
        matcher({
          matcher_list: {
            matchers: [
              {
                predicate: { single_predicate: { input: network('DestinationPort'), custom_match: custom } },
                on_match: on('a'),
              },
            ],
          },
        }),
      /matchers\[0\]\.predicate\.single_predicate\.custom_match: no input matcher extension "c"/,
    )
  })

  it('refuses malformed ranges and domains', () => {
    const tree = (type: string, fields: object): JsonValue => ({
      matcher_tree: {
        input: network('ServerName'),
        custom_match: { name: 'c', typed_config: { '@type': `${T}xds.type.matcher.v3.${type}`, ...fields } },
      },
    })
    assert.throws(
      () =>
        matcher(
          tree('IPMatcher', { range_matchers: [{ ranges: [{ address_prefix: '10.0.0.x' }], on_match: on('a') }] }),
        ),
      /range_matchers\[0\]\.ranges\[0\]: malformed IP range 10\.0\.0\.x\/0/,
    )
    const domains = (...names: string[]): JsonValue =>
      tree('ServerNameMatcher', { domain_matchers: [{ domains: names, on_match: on('a') }] })
    assert.throws(() => matcher(domains('a.com', 'a.com')), /domains\[1\]: Duplicate domain/)
    assert.throws(() => matcher(domains('a*.com')), /domains\[0\]: "a\*\.com": a wildcard has the form/)
  })
})
