import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { xxh64 } from '../../base/hash.ts'
import { request, routes, streamInfo } from './testing.ts'

const NO_COOKIES = { addSetCookie: () => assert.fail('no cookie expected') }

function hashOf(
  policies: readonly unknown[],
  headers = request('/'),
  cookies: { addSetCookie(cookie: string): void } = NO_COOKIES,
) {
  const table = routes([{ match: { prefix: '/' }, route: { cluster: 'c', hash_policy: policies } }])
  return table.route(headers, streamInfo(), 0)!.forward!.hashPolicy!.hash(headers, streamInfo(), cookies)
}

describe('hash policies', () => {
  test('a header hashes with xxHash64, its absence gives no hash', () => {
    assert.equal(hashOf([{ header: { header_name: 'X-K' } }], request('/', { 'x-k': 'foo' })), 3728699739546630719n)
    assert.equal(hashOf([{ header: { header_name: 'x-k' } }]), null)
  })

  test('the order of several values does not matter', () => {
    const one = request('/')
    one.add('x-k', 'b')
    one.add('x-k', 'a')
    assert.equal(hashOf([{ header: { header_name: 'x-k' } }], one), xxh64('b', xxh64('a')))
  })

  test('policies are combined by rotation, a terminal one ends the list', () => {
    const headers = request('/?q=v', { 'x-k': 'foo' })
    const first = xxh64('foo')
    const rotated = ((first << 1n) | (first >> 63n)) & 0xffff_ffff_ffff_ffffn
    const both = [{ header: { header_name: 'x-k' } }, { query_parameter: { name: 'q' } }]
    assert.equal(hashOf(both, headers), rotated ^ xxh64('v'))
    assert.equal(hashOf([{ ...both[0], terminal: true }, both[1]], headers), first)
  })

  test('source_ip hashes the client address', () => {
    assert.equal(hashOf([{ connection_properties: { source_ip: true } }]), xxh64('192.0.2.7'))
  })

  test('a cookie with a ttl is made when it is missing', () => {
    let cookie = ''
    const policy = [{ cookie: { name: 'sticky', ttl: '60s', path: '/' } }]
    const hash = hashOf(policy, request('/'), { addSetCookie: (text) => (cookie = text) })
    const value = /^sticky="([0-9a-f]+)"; Max-Age=60; Path=\/; HttpOnly$/.exec(cookie)?.[1]
    assert.ok(value, cookie)
    assert.equal(hash, xxh64(value))
    assert.equal(hashOf(policy, request('/', { cookie: `a=b; sticky="${value}"` })), hash)
    assert.equal(hashOf([{ cookie: { name: 'sticky' } }]), null)
  })
})
