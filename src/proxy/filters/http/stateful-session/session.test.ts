import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeaderMap } from '../../../http/header-map.ts'
import { request } from '../../../route/testing.ts'
import type { SessionPlace } from './config.ts'
import { sessionAddress, tellSession } from './session.ts'

const cookie = (more: Partial<Extract<SessionPlace, { kind: 'cookie' }>> = {}): SessionPlace => ({
  kind: 'cookie',
  name: 's',
  path: '/shop',
  ttlS: 60,
  attributes: [],
  ...more,
})

function told(place: SessionPlace, nowS: number): string {
  const response = new HeaderMap()
  tellSession(place, '10.0.0.1:80', response, nowS)
  return response.get('set-cookie')!
}

test('a client that brings its cookie back asks for its host, until the cookie ends', () => {
  const value = told(cookie(), 1000)
  assert.match(value, /^s="\S+"; Max-Age=60; Path=\/shop; HttpOnly$/)
  const headers = request('/shop/cart', { cookie: value.split(';')[0]! })
  assert.equal(sessionAddress(cookie(), headers, 1060), '10.0.0.1:80')
  assert.equal(sessionAddress(cookie(), headers, 1061), null)
})

test('elsewhere there is no session', () => {
  assert.equal(sessionAddress(cookie(), request('/shopping'), 0), undefined)
  assert.equal(sessionAddress(cookie({ path: '' }), request('/shopping'), 0), null)
})

test('what is no cookie of ours asks for nothing', () => {
  for (const value of ['?', 'AA', 'AA==', '']) {
    const address = sessionAddress(cookie({ path: '' }), request('/', { cookie: `s=${value}` }), 0)
    assert.ok(address === null || address === '\0', JSON.stringify(address))
  }
})
