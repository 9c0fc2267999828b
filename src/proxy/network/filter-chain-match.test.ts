import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type FilterChainInput,
  type FilterChainMatch,
  indexFilterChains,
  matchFilterChain,
} from './filter-chain-match.ts'

const ANY: FilterChainMatch = {
  destinationPort: 0,
  prefixRanges: [],
  serverNames: [],
  transportProtocol: '',
  applicationProtocols: [],
  directSourcePrefixRanges: [],
  sourceType: 'ANY',
  sourcePrefixRanges: [],
  sourcePorts: [],
}
const CALL: FilterChainInput = {
  destinationIp: '10.0.0.1',
  destinationPort: 80,
  serverName: '',
  transportProtocol: 'raw_buffer',
  applicationProtocols: [],
  directSourceIp: '10.0.0.2',
  sourceIp: '10.0.0.2',
  sourcePort: 40000,
}

function choose(matches: Partial<FilterChainMatch>[], call: Partial<FilterChainInput>): number {
  const full = matches.map((match) => ({ ...ANY, ...match }))
  return matchFilterChain(
    indexFilterChains(
      full,
      full.map((_, i) => `chain-${i}`),
    ),
    { ...CALL, ...call },
  )
}

test('a chain for a port hides the port-less chains of that port', () => {
  const chains = [{ destinationPort: 9080, transportProtocol: 'tls' }, {}]
  assert.equal(choose(chains, { destinationPort: 9080, transportProtocol: 'tls' }), 0)
  assert.equal(choose(chains, { destinationPort: 9080 }), -1)
  assert.equal(choose(chains, { destinationPort: 9081 }), 1)
})

test('the longest prefix wins in both families', () => {
  const chains = [
    { prefixRanges: [{ addressPrefix: '10.0.0.0', prefixLen: 8 }] },
    { prefixRanges: [{ addressPrefix: '10.0.0.1', prefixLen: 32 }] },
    { prefixRanges: [{ addressPrefix: '2001:db8::', prefixLen: 33 }] },
    {},
  ]
  assert.equal(choose(chains, {}), 1)
  assert.equal(choose(chains, { destinationIp: '10.9.9.9' }), 0)
  assert.equal(choose(chains, { destinationIp: '2001:db8:7fff::1' }), 2)
  assert.equal(choose(chains, { destinationIp: '2001:db8:8000::1' }), 3)
})

test('server names: exact, then the longest wildcard, then none', () => {
  const chains = [
    { serverNames: ['a.b.example.com'] },
    { serverNames: ['*.b.example.com'] },
    { serverNames: ['*.example.com'] },
    {},
  ]
  assert.equal(choose(chains, { serverName: 'a.b.example.com' }), 0)
  assert.equal(choose(chains, { serverName: 'x.y.b.example.com' }), 1)
  assert.equal(choose(chains, { serverName: 'x.example.com' }), 2)
  assert.equal(choose(chains, { serverName: 'example.com' }), 3)
  assert.equal(choose(chains, {}), 3)
})

test('equal rules are refused and name both chains', () => {
  assert.throws(() => choose([{ destinationPort: 1 }, { destinationPort: 1 }], {}), /'chain-1'.*'chain-0'/)
})

test('wildcards that are no suffix are refused', () => {
  for (const name of ['*', 'a*', '*.', 'a.*.b', '*a.example.com']) {
    assert.throws(() => choose([{ serverNames: [name] }], {}), /server_names/, name)
  }
})

test('a Unix socket has no port and counts as local', () => {
  const unix = { destinationIp: '', destinationPort: 0, sourceIp: '', directSourceIp: '' }
  assert.equal(choose([{ sourceType: 'SAME_IP_OR_LOOPBACK' }, { sourceType: 'EXTERNAL' }], unix), 0)
})
