import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { ConfigError } from '../../../base/errors.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import { type NameServer, SERVFAIL, startNameServer } from '../dns/testing.ts'
import type { DnsCacheData } from './config.ts'
import { DnsCache, type DnsCacheHost, DnsCaches, LoadStatus } from './dns-cache.ts'
import { hostKey, splitHostKey } from './host-key.ts'

function data(server: NameServer, more: Partial<DnsCacheData> = {}): DnsCacheData {
  return {
    name: 'names',
    family: 'V4_ONLY',
    refreshMs: 5,
    minRefreshMs: 0,
    hostTtlMs: 300_000,
    maxHosts: 2,
    failureBaseMs: 5,
    failureMaxMs: 10,
    maxPendingRequests: 1,
    queryTimeoutMs: 5000,
    forgetFailures: false,
    preresolve: [],
    resolver: {
      kind: 'cares',
      servers: [`127.0.0.1:${server.port}`],
      serversAsFallback: false,
      timeoutMs: 0,
      tries: 0,
    },
    ...more,
  }
}

class Fixture {
  readonly stats = new StatsStore()
  readonly cache: DnsCache
  readonly server: NameServer

  constructor(t: TestContext, server: NameServer, more: Partial<DnsCacheData> = {}) {
    this.server = server
    this.cache = new DnsCache(data(server, more), this.stats)
    t.after(() => {
      this.cache.close()
      server.close()
    })
  }

  static async start(
    t: TestContext,
    names: Readonly<Record<string, readonly string[]>>,
    more: Partial<DnsCacheData> = {},
  ): Promise<Fixture> {
    return new Fixture(t, await startNameServer(names), more)
  }

  load(key: string): Promise<DnsCacheHost> {
    return new Promise((onLoaded, reject) => {
      const status = this.cache.load(key, { onLoaded })
      if (status === LoadStatus.InCache) onLoaded(this.cache.use(key)!)
      else if (status === LoadStatus.Overflow) reject(new Error('overflow'))
    })
  }

  count(name: string): number {
    return this.stats.counter(`dns_cache.names.${name}`).value
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}

describe('DNS cache', () => {
  test('a name is asked for once, and is then in the cache', async (t) => {
    const fixture = await Fixture.start(t, { 'a.example': ['192.0.2.1', '192.0.2.2'] }, { minRefreshMs: 60_000 })
    const [first, second] = await Promise.all([fixture.load('a.example:80'), fixture.load('a.example:80')])
    assert.deepEqual(
      first.addresses.map((address) => address.text),
      ['192.0.2.1:80', '192.0.2.2:80'],
    )
    assert.equal(second, first)
    assert.equal(fixture.count('dns_query_attempt'), 1)
    assert.equal(fixture.cache.load('a.example:80', { onLoaded: () => assert.fail('was there') }), LoadStatus.InCache)
  })

  test('an address needs no server', async (t) => {
    const fixture = await Fixture.start(t, {})
    fixture.server.rcode = SERVFAIL
    assert.equal((await fixture.load('[2001:db8::1]:443')).addresses[0]?.text, '[2001:db8::1]:443')
  })

  test('failures carry their reason; SERVFAIL is a failure, a missing name is an answer', async (t) => {
    const fixture = await Fixture.start(t, {}, { refreshMs: 60_000, failureBaseMs: 60_000, failureMaxMs: 60_000 })
    assert.equal((await fixture.load('a.example:80')).failure, 'cares_norecords:Domain_name_not_found')
    assert.equal(fixture.count('dns_query_success'), 1)
    fixture.server.rcode = SERVFAIL
    assert.match((await fixture.load('b.example:80')).failure, /^cares_failure:DNS_server_returned_general_failure$/)
    assert.equal(fixture.count('dns_query_failure'), 1)
  })

  test('no answer within dns_query_timeout', async (t) => {
    const fixture = await Fixture.start(t, {}, { queryTimeoutMs: 10, failureBaseMs: 60_000, failureMaxMs: 60_000 })
    assert.equal((await fixture.load('silent.example:80')).failure, 'resolve_timeout')
    assert.deepEqual([fixture.count('dns_query_timeout'), fixture.count('dns_query_failure')], [1, 1])
  })

  test('max_hosts and pending requests are limits', async (t) => {
    const fixture = await Fixture.start(t, { 'a.example': ['192.0.2.1'], 'b.example': ['192.0.2.2'] })
    await fixture.load('a.example:80')
    await fixture.load('b.example:80')
    await assert.rejects(fixture.load('c.example:80'))
    assert.equal(fixture.count('host_overflow'), 1)
    assert.equal(fixture.cache.enterPending(), true)
    assert.equal(fixture.cache.enterPending(), false)
    assert.equal(fixture.count('dns_rq_pending_overflow'), 1)
    fixture.cache.leavePending()
    assert.equal(fixture.cache.enterPending(), true)
  })

  test('watchers see addresses come, change and go', async (t) => {
    const fixture = await Fixture.start(t, {}, { hostTtlMs: 30 })
    fixture.server.ttlS = 0
    const seen: string[] = []
    fixture.cache.watch({
      onHostUpdated: (host) => seen.push(`+${host.addresses[0]?.ip}`),
      onHostRemoved: (host) => seen.push(`-${host.key}`),
    })
    await fixture.load('a.example:80')
    assert.deepEqual(seen, [])
    fixture.server.names.set('a.example', ['192.0.2.1'])
    await until(() => seen.length > 0)
    await until(() => seen.length > 1)
    assert.deepEqual(seen, ['+192.0.2.1', '-a.example:80'])
    assert.equal(fixture.cache.use('a.example:80'), null)
  })

  test('disable_dns_refresh_on_failure forgets what did not resolve', async (t) => {
    const fixture = await Fixture.start(t, {}, { forgetFailures: true })
    fixture.server.rcode = SERVFAIL
    await fixture.load('a.example:80')
    await until(() => fixture.cache.use('a.example:80') === null)
    assert.equal(fixture.count('host_removed'), 1)
  })

  test('one name, one configuration', async (t) => {
    const server = await startNameServer({})
    t.after(() => server.close())
    const caches = new DnsCaches(new StatsStore())
    assert.equal(caches.get(data(server)), caches.get(data(server)))
    assert.throws(() => caches.get(data(server, { maxHosts: 3 })), ConfigError)
    caches.close()
  })

  test('keys are host and port', () => {
    assert.equal(hostKey('a.example', 80), 'a.example:80')
    assert.equal(hostKey('a.example:8080', 80), 'a.example:8080')
    assert.equal(hostKey('::1', 443), '[::1]:443')
    assert.deepEqual(splitHostKey('[::1]:443'), { host: '::1', port: 443 })
  })
})
