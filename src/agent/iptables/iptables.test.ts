// The capture rules in a real network namespace.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { namespacesMissing, TestNamespace } from '../testing/namespace.ts'
import { captureConfigOf } from './flags.ts'
import { findResidue } from './restore.ts'

const CLI = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
/** What the injector passes (istio-contract 2.1). */
const INJECTED = [
  '-p',
  '15001',
  '-z',
  '15006',
  '-u',
  '1337',
  '-m',
  'REDIRECT',
  '-i',
  '*',
  '-x',
  '',
  '-b',
  '*',
  '-d',
  '15090,15021,15020',
]

const namespaces: TestNamespace[] = []
after(() => {
  for (const namespace of namespaces) namespace.close()
})

function open(): TestNamespace {
  const namespace = new TestNamespace('10.244.0.10')
  namespaces.push(namespace)
  return namespace
}

function iptables(
  namespace: TestNamespace,
  ...flags: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  return namespace.attempt(process.execPath, CLI, 'iptables', ...flags)
}

function saved(namespace: TestNamespace, program = 'iptables-save'): string[] {
  return namespace
    .run(program)
    .split('\n')
    .filter((line) => line.startsWith('-A'))
}

describe('in a network namespace', { skip: namespacesMissing() }, () => {
  for (const variant of ['nft', 'legacy']) {
    test(`${variant}: injected flags capture connections; a second run changes nothing; clean-up leaves nothing`, async () => {
      const namespace = open()
      const save = `iptables-${variant}-save`
      const flags = [...INJECTED, '--force-iptables-binary', variant]
      assert.equal((await iptables(namespace, ...flags)).code, 0)
      const rules = saved(namespace, save)
      assert.equal(rules.filter((line) => line.startsWith('-A ISTIO_')).length, 16)
      assert.ok(rules.includes('-A ISTIO_OUTPUT -j ISTIO_REDIRECT'))
      const again = await iptables(namespace, ...flags)
      assert.match(again.stderr, /in place already/)
      assert.deepEqual(saved(namespace, save), rules)
      // As the proxy's user, which the rules send back into the pod.
      const probe = [
        'setpriv',
        '--reuid',
        '1337',
        '--regid',
        '1337',
        '--clear-groups',
        process.execPath,
        CLI,
        'iptables',
      ]
      const check = await namespace.attempt(...probe, '--skip-rule-apply', '--run-validation')
      assert.equal(check.code, 0, check.stderr)
      assert.equal((await iptables(namespace, ...flags, '--cleanup-only')).code, 0)
      assert.deepEqual(saved(namespace, save), [])
      assert.equal((await namespace.attempt(...probe, '--skip-rule-apply', '--run-validation')).code, 126)
    })
  }

  test('other flags replace the rules of an earlier run, also the marks and routes of TPROXY', async () => {
    const namespace = open()
    assert.equal((await iptables(namespace, ...INJECTED)).code, 0)
    for (let run = 0; run < 2; run++) {
      const replaced = await iptables(
        namespace,
        '-m',
        'TPROXY',
        '-b',
        '*',
        '-i',
        '*',
        '-c',
        'eth9',
        '--reconcile',
        '--force-apply',
      )
      assert.equal(replaced.code, 0, replaced.stderr)
      const rules = saved(namespace)
      assert.equal(rules.filter((line) => line.includes('--save-mark')).length, 1)
      assert.equal(rules.filter((line) => line.includes('eth9')).length, 4)
      assert.ok(!rules.some((line) => line.includes('DROP')), 'the guard is gone')
      assert.ok(!rules.some((line) => line.includes('--dport 15090')), 'the exclusion of the first run is gone')
    }
    assert.equal(namespace.run('ip', 'rule').split('lookup 133').length, 2)
    assert.equal(
      (await iptables(namespace, '-m', 'TPROXY', '-b', '*', '-i', '*', '-c', 'eth9', '--cleanup-only')).code,
      0,
    )
    assert.deepEqual(saved(namespace), [])
    assert.ok(!namespace.run('ip', 'rule').includes('lookup 133'))
  })

  test('a refused rule changes nothing and says why', async () => {
    const namespace = open()
    assert.equal((await iptables(namespace, ...INJECTED)).code, 0)
    const before = saved(namespace)
    const refused = await namespace.attempt(
      'env',
      'ISTIO_OUTBOUND_OWNER_GROUPS=no-such-group',
      process.execPath,
      CLI,
      'iptables',
      ...INJECTED,
    )
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /error: iptables-nft-restore --noflush failed: .*/)
    assert.deepEqual(saved(namespace), before)
  })

  test('a dry run prints and changes nothing', async () => {
    const namespace = open()
    const { code, stdout } = await iptables(namespace, ...INJECTED, '--dry-run')
    assert.equal(code, 0)
    assert.ok(stdout.startsWith('* nat\n-N ISTIO_INBOUND\n-N ISTIO_REDIRECT\n'))
    assert.ok(stdout.endsWith('-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n-A ISTIO_OUTPUT -j ISTIO_REDIRECT\nCOMMIT\n'))
    assert.deepEqual(saved(namespace), [])
  })
})

test('wrong values are refused by the name of their flag', () => {
  const cases: [string[], Record<string, string>, RegExp][] = [
    [['-p', '0'], {}, /^ConfigError: -p: "0" is not a port/],
    [['-b', '80,http'], {}, /-b: "http" is not a port/],
    [['-i', '10.0.0.0/33'], {}, /-i: "10\.0\.0\.0\/33" has no valid mask/],
    [['-x', '*'], {}, /-x: "\*" is not an address range/],
    [['-x', 'all'], {}, /-x: "all" is not an address range/],
    [['-u', 'istio-proxy'], {}, /-u\/-g: "istio-proxy" is not valid here/],
    [
      [],
      { ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: '10.0.0.1/8' },
      /ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: must lie in 127\.0\.0\.0\/8/,
    ],
    [[], { ISTIO_OUTBOUND_OWNER_GROUPS: 'a', ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE: 'b' }, /cannot be combined/],
    [[], { ISTIO_OUTBOUND_OWNER_GROUPS: Array(65).fill('g').join(',') }, /at most 64/],
  ]
  for (const [flags, env, message] of cases) assert.throws(() => captureConfigOf(flags, env), message)
})

test('only what is ours counts as residue', () => {
  const text =
    '*nat\n:PREROUTING ACCEPT [0:0]\n:ISTIO_OUTPUT - [0:0]\n:DOCKER - [0:0]\n-A OUTPUT -j DOCKER\n-A OUTPUT -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -j RETURN\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n'
  assert.deepEqual(findResidue(text), [
    { table: 'nat', chains: ['ISTIO_OUTPUT'], jumps: ['-A OUTPUT -j ISTIO_OUTPUT'] },
  ])
})
