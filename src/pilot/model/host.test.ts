import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compareHosts, hostMatches, hostSubsetOf, resolveHost } from './host.ts'

test('wildcards match what overlaps, subsets only what lies inside', () => {
  assert.ok(hostMatches('*.a.com', 'x.a.com'))
  assert.ok(hostMatches('x.a.com', '*.a.com'))
  assert.ok(hostMatches('*.com', '*.a.com'))
  assert.ok(!hostMatches('*.a.com', 'a.com'))
  assert.ok(hostSubsetOf('*.a.com', '*.com'))
  assert.ok(!hostSubsetOf('*.com', '*.a.com'))
  assert.ok(!hostSubsetOf('x.a.com', 'a.com'))
})

test('the most specific host stands first', () => {
  const hosts = ['*', '*.com', 'a.com', '*.a.com', 'x.a.com']
  assert.deepEqual(hosts.sort(compareHosts), ['x.a.com', 'a.com', '*.a.com', '*.com', '*'])
})

test('short names are services of the namespace; dotted names and wildcards stay', () => {
  assert.equal(resolveHost('web', 'shop', 'cluster.local'), 'web.shop.svc.cluster.local')
  assert.equal(resolveHost('web.shop', 'x', 'cluster.local'), 'web.shop')
  assert.equal(resolveHost('*', 'x', 'cluster.local'), '*')
})
