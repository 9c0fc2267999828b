import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttp2, type Http2Server, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { after, describe, test } from 'node:test'
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import {
  type CheckRequest,
  CheckRequestSchema,
  CheckResponseSchema,
} from '../../../../api/gen/envoy/service/auth/v3/external_auth_pb.js'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { request } from '../../../route/testing.ts'
import { grpcFrame } from '../../../upstream/grpc-frame.ts'
import { httpServer, staticCluster, TestClusters } from '../../../upstream/testing.ts'
import { FilterHarness } from '../testing.ts'
import { extAuthzFilter } from './config.ts'

const HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
}
const GRPC = { grpc_service: { envoy_grpc: { cluster_name: 'c' }, timeout: '5s' }, transport_api_version: 'V3' }

const closing: (() => void)[] = []
after(() => {
  for (const close of closing) close()
})

/** An authorization service over node:http2 that gives one answer and keeps the questions. */
async function grpcService(
  answer: MessageInitShape<typeof CheckResponseSchema>,
): Promise<{ port: number; asked: CheckRequest[] }> {
  const asked: CheckRequest[] = []
  const server: Http2Server = createHttp2()
  server.on('stream', (stream: ServerHttp2Stream) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      asked.push(fromBinary(CheckRequestSchema, Buffer.concat(chunks).subarray(5)))
      const bytes = toBinary(CheckResponseSchema, create(CheckResponseSchema, answer))
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(grpcFrame(bytes))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => server.close())
  return { port: (server.address() as AddressInfo).port, asked }
}

function harness(config: Readonly<Record<string, unknown>>, port: number, cluster: object = HTTP2): FilterHarness {
  const filter = new FilterHarness(extAuthzFilter, config)
  const clusters = new TestClusters()
  filter.clusters.set('c', clusters.add(staticCluster([port], cluster as Record<string, unknown>)))
  closing.push(() => clusters.clusters.close())
  return filter
}

describe('ext_authz over gRPC', () => {
  test('OK lets the request pass with the headers the service sets', async () => {
    const { port, asked } = await grpcService({
      status: { code: 0 },
      httpResponse: {
        case: 'okResponse',
        value: { headers: [{ header: { key: 'X-User', value: 'me' } }], headersToRemove: ['x-secret'] },
      },
    })
    const filter = harness(GRPC, port)
    const stream = filter.stream()
    const headers = request('/p?q', { 'x-secret': 's', 'x-user': 'forged', constructor: 'own' })
    assert.equal(stream.request(headers), FilterHeadersStatus.StopIteration)
    await stream.resumed()
    assert.equal(headers.getAll('x-user'), 'me')
    assert.equal(headers.has('x-secret'), false)
    const http = asked[0]!.attributes!.request!.http!
    assert.deepEqual([http.method, http.path, http.host], ['GET', '/p?q', 'a.example'])
    assert.equal(http.headers[':path'], '/p?q')
    assert.equal(http.headers.constructor, 'own')
    assert.equal(filter.counter('ext_authz.ok'), 1)
  })

  test('a denial is answered with status, body and headers of the service', async () => {
    const { port } = await grpcService({
      status: { code: 7 },
      httpResponse: {
        case: 'deniedResponse',
        value: {
          status: { code: 401 },
          body: 'who are you',
          headers: [{ header: { key: 'x-why', value: 'unknown' } }],
        },
      },
    })
    const stream = harness(GRPC, port).stream()
    stream.request(request('/'))
    const reply = await stream.replied()
    assert.deepEqual([reply.status, reply.body, reply.details], [401, 'who are you', 'ext_authz_denied'])
    assert.equal(reply.headers.get('x-why'), 'unknown')
  })

  test('text of the service goes out as UTF-8', async () => {
    const { port } = await grpcService({
      status: { code: 7 },
      httpResponse: {
        case: 'deniedResponse',
        value: { body: 'n\u010din', headers: [{ header: { key: 'x-why', value: '\u010d\u010ax-admin: true' } }] },
      },
    })
    const stream = harness(GRPC, port).stream()
    stream.request(request('/'))
    const reply = await stream.replied()
    assert.equal(reply.body, 'n\xc4\x8din')
    assert.equal(reply.headers.get('x-why'), '\xc4\x8d\xc4\x8ax-admin: true')
  })

  test('the body goes along, cut where it may be', async () => {
    const { port, asked } = await grpcService({ status: { code: 0 } })
    const body = { with_request_body: { max_request_bytes: 4, allow_partial_message: true } }
    const stream = harness({ ...GRPC, ...body }, port).stream()
    stream.request(request('/'), false)
    stream.decoders[0]!.decodeData(Buffer.from('123456'), false)
    await stream.resumed()
    const http = asked[0]!.attributes!.request!.http!
    assert.equal(http.body, '1234')
    assert.equal(http.headers['x-envoy-auth-partial-body'], 'true')
  })

  test('without a service: refused, or let pass where that is configured', async () => {
    const strict = new FilterHarness(extAuthzFilter, GRPC).stream()
    strict.request(request('/'))
    const reply = await strict.replied()
    assert.deepEqual([reply.status, reply.details], [403, 'ext_authz_error'])
    const lenient = new FilterHarness(extAuthzFilter, {
      ...GRPC,
      failure_mode_allow: true,
      failure_mode_allow_header_add: true,
    })
    const headers = request('/')
    assert.equal(lenient.stream().request(headers), FilterHeadersStatus.Continue)
    assert.equal(headers.get('x-envoy-auth-failure-mode-allowed'), 'true')
  })

  test('metadata that other filters left decides whether it asks at all', () => {
    const gate = {
      filter_enabled_metadata: {
        filter: 'envoy.filters.http.rbac',
        path: [{ key: 'istio_ext_authz_shadow_effective_policy_id' }],
        value: { string_match: { prefix: 'istio-ext-authz-default' } },
      },
    }
    const filter = new FilterHarness(extAuthzFilter, { ...GRPC, ...gate })
    assert.equal(filter.stream().request(request('/')), FilterHeadersStatus.Continue)
    assert.equal(filter.counter('ext_authz.disabled'), 1)
    const gated = filter.stream()
    gated.info.setDynamicMetadata(
      'envoy.filters.http.rbac',
      'istio_ext_authz_shadow_effective_policy_id',
      'istio-ext-authz-default-x',
    )
    assert.equal(gated.request(request('/')), FilterHeadersStatus.StopIteration)
  })
})

test('ext_authz over HTTP: 200 passes with the allowed headers, others answer the client', async () => {
  const { port, server } = await httpServer((message, response) => {
    const denied = message.headers.authorization !== 'good'
    response
      .writeHead(denied ? 403 : 200, { 'x-user': 'me', 'x-other': 'o', 'x-path': message.url })
      .end(denied ? 'no' : '')
  })
  closing.push(() => server.close())
  const config = {
    http_service: {
      server_uri: { uri: 'http://authz.example', cluster: 'c', timeout: '5s' },
      path_prefix: '/check',
      authorization_response: { allowed_upstream_headers: { patterns: [{ exact: 'x-user' }] } },
    },
  }
  const good = harness(config, port, {}).stream()
  const headers = request('/p', { authorization: 'good' })
  good.request(headers)
  await good.resumed()
  assert.equal(headers.get('x-user'), 'me')
  assert.equal(headers.has('x-other'), false)
  const bad = harness(config, port, {}).stream()
  bad.request(request('/p'))
  const reply = await bad.replied()
  assert.deepEqual([reply.status, reply.body, reply.headers.get('x-path')], [403, 'no', '/check/p'])
})
