// The capture rules as a function of what is known; expectations are what istio-iptables makes of the same input.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CAPTURE_DEFAULTS, type CaptureConfig, type CaptureHost, capturesIpv6 } from './config.ts'
import { formatRestore, groupByTable, ruleLine } from './restore.ts'
import { buildCapturePlan, type Rule } from './rules.ts'

function plan(config: Partial<CaptureConfig>, host: Partial<CaptureHost> = {}) {
  return buildCapturePlan(
    { ...CAPTURE_DEFAULTS, ...config },
    { ipv6: true, dnsServersV4: [], dnsServersV6: [], ...host },
  )
}

const lines = (rules: readonly Rule[], table: string): string[] =>
  rules.filter((rule) => rule.table === table).map(ruleLine)

/** Every jump leads to a chain that the same table makes: iptables-restore refuses the whole table otherwise. */
function assertComplete(rules: readonly Rule[]): void {
  for (const { table, rules: text } of groupByTable(rules)) {
    const made = new Set(text.filter((line) => line.startsWith('-N ')).map((line) => line.slice(3)))
    for (const line of text) {
      const target = /-j (ISTIO_\S+)/.exec(line)?.[1]
      assert.ok(target === undefined || made.has(target), `${table}: ${line}`)
    }
  }
}

test('DNS capture of a family without nameservers: no jump to a chain that nothing makes', () => {
  const dns = { redirectDns: true, inboundPorts: '*', outboundRanges: '*' } as const
  for (const [servers, with4, with6] of [
    [{ dnsServersV4: ['10.0.0.1'] }, true, false],
    [{ dnsServersV6: ['2001:db8::53'] }, false, true],
    [{ dnsServersV4: ['10.0.0.1'], dnsServersV6: ['2001:db8::53'] }, true, true],
  ] as const) {
    const { ipv4, ipv6 } = plan(dns, servers)
    for (const [rules, wanted] of [
      [ipv4, with4],
      [ipv6, with6],
    ] as const) {
      assertComplete(rules)
      assert.equal(lines(rules, 'nat').includes('-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS'), wanted)
      assert.equal(lines(rules, 'raw').includes('-A PREROUTING -j ISTIO_INBOUND'), wanted)
      // Owners get their zones in both.
      assert.ok(lines(rules, 'raw').includes('-A OUTPUT -j ISTIO_OUTPUT_DNS'))
    }
  }
  const all = plan({ ...dns, captureAllDns: true })
  for (const rules of [all.ipv4, all.ipv6]) {
    assertComplete(rules)
    assert.ok(lines(rules, 'nat').includes('-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-port 15053'))
  }
})

test('TPROXY: the mark of what the proxy sends is 1338 whatever the other mark is', () => {
  const { ipv4 } = plan({ interceptionMode: 'TPROXY', inboundPorts: '*', tproxyMark: '200' })
  const mangle = lines(ipv4, 'mangle')
  assert.ok(mangle.includes('-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN'))
  assert.ok(mangle.some((line) => line.endsWith('--uid-owner 1337 -j MARK --set-mark 1338')))
  assert.ok(mangle.includes('-A ISTIO_DIVERT -j MARK --set-mark 200'))
})

test('TPROXY without inbound ports: connections are marked, nothing is routed', () => {
  const { ipv4, commands } = plan({ interceptionMode: 'TPROXY' })
  assertComplete(ipv4)
  assert.match(formatRestore(groupByTable(ipv4)), /-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark\n/)
  assert.deepEqual(commands, [])
  assert.equal(plan({ interceptionMode: 'TPROXY', inboundPorts: ['80'] }).commands.length, 4)
})

test('IPv6 beside IPv4 is captured by dual stack only', () => {
  const local = ['127.0.0.1', '::1', 'fe80::1', '169.254.1.1']
  const v6 = [...local, '2001:db8::1']
  assert.equal(capturesIpv6([...local, '10.0.0.1'], true), false)
  assert.equal(capturesIpv6([...v6, '10.0.0.1'], false), false)
  assert.equal(capturesIpv6([...v6, '10.0.0.1'], true), true)
  assert.equal(capturesIpv6(v6, false), true)
  assert.equal(capturesIpv6([], true), false)
})
