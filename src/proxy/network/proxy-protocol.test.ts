import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseProxyHeader } from '../filters/listener/proxy-protocol/header.ts'
import { ipAddress } from './address.ts'
import { type DownstreamProxyHeader, type ProxyProtocolConfig, proxyHeader } from './proxy-protocol.ts'

const CONFIG: ProxyProtocolConfig = {
  version: 2,
  passThrough: { all: false, types: [] },
  added: [],
  inner: { name: 'raw', typeUrl: '', config: {} },
}
const LOCAL = ipAddress('10.0.0.1', 1000)
const REMOTE = ipAddress('10.0.0.2', 2000)
const CLIENT: DownstreamProxyHeader = {
  source: ipAddress('192.0.2.1', 1234),
  destination: ipAddress('192.0.2.2', 80),
  tlvs: [
    { type: 0xe1, value: Buffer.from('one') },
    { type: 0xe2, value: Buffer.from('two') },
  ],
}

function parsed(config: ProxyProtocolConfig, downstream: DownstreamProxyHeader | null): unknown {
  const result = parseProxyHeader(proxyHeader(config, downstream, LOCAL, REMOTE))
  assert.equal(result.kind, 'header')
  if (result.kind !== 'header') return null
  const { addresses, tlvs } = result.header
  return {
    addresses: addresses && `${addresses.source.ip}:${addresses.source.port} ${addresses.destination.ip}`,
    tlvs: tlvs.map((tlv) => `${tlv.type}=${tlv.value}`),
  }
}

test('version 1', () => {
  const config = { ...CONFIG, version: 1 } as const
  assert.equal(String(proxyHeader(config, CLIENT, LOCAL, REMOTE)), 'PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n')
  assert.equal(String(proxyHeader(config, null, LOCAL, REMOTE)), 'PROXY TCP4 10.0.0.1 10.0.0.2 1000 2000\r\n')
  const six = { ...CLIENT, source: ipAddress('2001:db8::1', 1), destination: ipAddress('2001:db8::2', 2) }
  assert.equal(String(proxyHeader(config, six, LOCAL, REMOTE)), 'PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n')
})

test('version 2: addresses, TLVs passed on and added', () => {
  assert.deepEqual(parsed(CONFIG, CLIENT), { addresses: '192.0.2.1:1234 192.0.2.2', tlvs: [] })
  const config: ProxyProtocolConfig = {
    ...CONFIG,
    passThrough: { all: false, types: [0xe2] },
    added: [
      { type: 0xe5, value: Buffer.from('own') },
      { type: 0xe2, value: Buffer.from('less than what came') },
    ],
  }
  assert.deepEqual(parsed(config, CLIENT), { addresses: '192.0.2.1:1234 192.0.2.2', tlvs: ['229=own', '226=two'] })
})

test('version 2: a connection of the proxy is LOCAL', () => {
  assert.deepEqual(parsed(CONFIG, null), { addresses: null, tlvs: [] })
})

test('version 2: IPv6', () => {
  const six = { ...CLIENT, source: ipAddress('2001:db8::1', 1234), destination: ipAddress('2001:db8::2', 2) }
  assert.deepEqual(parsed(CONFIG, six), { addresses: '2001:db8::1:1234 2001:db8::2', tlvs: [] })
})
