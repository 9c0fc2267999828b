import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { request, routes } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { corsFilter } from './config.ts'

function harness(cors: object): FilterHarness {
  const filter = new FilterHarness(corsFilter, {})
  filter.table = routes([{ match: { prefix: '/' }, route: { cluster: 'c', cors } }])
  return filter
}

const POLICY = {
  allow_origin_string_match: [{ exact: 'https://a.example' }],
  allow_methods: 'GET,POST',
  allow_headers: '*',
  expose_headers: 'x-e',
  max_age: '60',
  allow_credentials: true,
}

function preflight(origin: string) {
  const headers = request('/', {
    origin,
    'access-control-request-method': 'GET',
    'access-control-request-headers': 'x-asked',
  })
  headers.method = 'OPTIONS'
  return headers
}

describe('cors', () => {
  test('a preflight of an allowed origin is answered', () => {
    const filter = harness(POLICY)
    const stream = filter.stream()
    assert.equal(stream.request(preflight('https://a.example')), FilterHeadersStatus.StopIteration)
    assert.equal(stream.reply!.status, 200)
    assert.equal(stream.reply!.details, 'cors_response')
    assert.deepEqual(stream.reply!.headers.list, [
      ...['access-control-allow-origin', 'https://a.example'],
      ...['access-control-allow-credentials', 'true'],
      ...['access-control-allow-methods', 'GET,POST'],
      ...['access-control-allow-headers', 'x-asked'],
      ...['access-control-max-age', '60'],
    ])
    assert.equal(filter.counter('cors.origin_valid'), 1)
  })

  test('one of another origin goes on, or is answered without permission', () => {
    const filter = harness(POLICY)
    assert.equal(filter.stream().request(preflight('https://evil')), FilterHeadersStatus.Continue)
    assert.equal(filter.counter('cors.origin_invalid'), 1)
    const strict = harness({ ...POLICY, forward_not_matching_preflights: false }).stream()
    assert.equal(strict.request(preflight('https://evil')), FilterHeadersStatus.StopIteration)
    assert.equal(strict.reply!.headers.size, 0)
  })

  test('responses to allowed origins are marked', () => {
    const stream = harness(POLICY).stream()
    stream.request(request('/', { origin: 'https://a.example' }))
    assert.deepEqual(stream.response().list, [
      ...['access-control-allow-origin', 'https://a.example'],
      ...['access-control-allow-credentials', 'true'],
      ...['access-control-expose-headers', 'x-e'],
    ])
    const other = harness(POLICY).stream()
    other.request(request('/', { origin: 'https://evil' }))
    assert.equal(other.response().size, 0)
  })

  test('a route without policy changes nothing', () => {
    const filter = new FilterHarness(corsFilter, {})
    assert.equal(filter.stream().request(preflight('https://a.example')), FilterHeadersStatus.Continue)
  })
})
