// Network ext_authz side by side: what the service is asked, what becomes of the connection, what is counted and logged
// must be equal in real Envoy and ours.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { Http2Server } from 'node:http2'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { create, fromBinary, toBinary, toJson } from '@bufbuild/protobuf'
import { CheckRequestSchema, CheckResponseSchema } from '../../src/api/gen/envoy/service/auth/v3/external_auth_pb.js'
import { TestCa, type TestCertificate } from '../../src/proxy/network/testing.ts'
import { until } from '../system/mesh.ts'
import { startGrpcService } from './harness/grpc-service.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })

interface Case {
  readonly name: string
  /** What the service does: it sees this as the authority it is called by. */
  readonly verdict: 'allow' | 'deny' | 'error' | 'garbage' | 'silent'
  readonly filter?: object
  readonly tls?: boolean
}

const CASES: readonly Case[] = [
  { name: 'allowed', verdict: 'allow' },
  { name: 'denied', verdict: 'deny' },
  { name: 'an error denies', verdict: 'error' },
  { name: 'an error allows where that is asked for', verdict: 'error', filter: { failure_mode_allow: true } },
  { name: 'an answer that does not decode', verdict: 'garbage' },
  { name: 'no answer in time', verdict: 'silent' },
  {
    name: 'not asked where the metadata is missing',
    verdict: 'deny',
    filter: { filter_enabled_metadata: { filter: 'a', path: [{ key: 'b' }], value: { present_match: true } } },
  },
  { name: 'mutual TLS', verdict: 'allow', tls: true },
  {
    name: 'mutual TLS with certificate and session',
    verdict: 'allow',
    tls: true,
    filter: { include_peer_certificate: true, include_tls_session: true },
  },
]

interface Upstreams {
  readonly authorizer: number
  readonly echo: number
  readonly log: string
}

function bootstrap(
  ports: Ports,
  listeners: readonly number[],
  to: Upstreams,
  { ca, server }: { ca: TestCa; server: TestCertificate },
): object {
  const cluster = (name: string, port: number): object => ({
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
  })
  const tls = {
    name: 'tls',
    typed_config: {
      '@type': type('transport_sockets.tls.v3.DownstreamTlsContext'),
      require_client_certificate: true,
      common_tls_context: {
        tls_certificates: [
          { certificate_chain: { inline_string: server.cert }, private_key: { inline_string: server.key } },
        ],
        validation_context: { trusted_ca: { inline_string: ca.cert } },
      },
    },
  }
  const format =
    '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%'
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      clusters: [
        {
          ...cluster('authorizer', to.authorizer),
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': type('upstreams.http.v3.HttpProtocolOptions'),
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
        },
        cluster('echo', to.echo),
      ],
      listeners: CASES.map((entry, i) => ({
        name: `l${i}`,
        address: address(listeners[i]!),
        listener_filters: entry.tls
          ? [{ name: 'tls', typed_config: { '@type': type('filters.listener.tls_inspector.v3.TlsInspector') } }]
          : [],
        filter_chains: [
          {
            transport_socket: entry.tls ? tls : undefined,
            filters: [
              {
                name: 'envoy.filters.network.ext_authz',
                typed_config: {
                  '@type': type('filters.network.ext_authz.v3.ExtAuthz'),
                  stat_prefix: `case${i}`,
                  transport_api_version: 'V3',
                  grpc_service: {
                    timeout: entry.verdict === 'silent' ? '0.3s' : '30s',
                    envoy_grpc: { cluster_name: 'authorizer', authority: `${entry.verdict}-${i}` },
                  },
                  ...entry.filter,
                },
              },
              {
                name: 'tcp',
                typed_config: {
                  '@type': type('filters.network.tcp_proxy.v3.TcpProxy'),
                  stat_prefix: 't',
                  cluster: 'echo',
                  access_log: [
                    {
                      name: 'file',
                      typed_config: {
                        '@type': type('access_loggers.file.v3.FileAccessLog'),
                        path: `${to.log}-${i}`,
                        log_format: { text_format_source: { inline_string: `${format}\n` } },
                      },
                    },
                  ],
                },
              },
            ],
          },
        ],
      })),
    },
  }
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

describe('network ext_authz', { skip }, () => {
  const sides: { proxy: RunningProxy; listeners: number[]; log: string; asked: unknown[] }[] = []
  const undo: (() => void)[] = []
  const dir = mkdtempSync(join(tmpdir(), 'og-authz-'))
  let client: TestCertificate

  before(async () => {
    const ca = new TestCa({ after: (fn) => void undo.push(fn) })
    const server = ca.issue('URI:spiffe://cluster.local/ns/a/sa/server,DNS:server.example')
    client = ca.issue('URI:spiffe://cluster.local/ns/a/sa/client,DNS:client.example')
    const echo = await startEcho()
    undo.push(() => echo.close())
    for (const name of ['envoy', 'outrigger'] as const) {
      const asked: unknown[] = []
      const authorizer = await startAuthorizer(asked)
      undo.push(() => authorizer.close())
      const listeners = await Promise.all(CASES.map(() => freePort()))
      const log = join(dir, name)
      const to = { authorizer: portOf(authorizer), echo: portOf(echo), log }
      const proxy = await startProxy(name, (ports) => bootstrap(ports, listeners, to, { ca, server }))
      sides.push({ proxy, listeners, log, asked })
    }
  })

  after(async () => {
    await Promise.all(sides.map((side) => side.proxy.stop()))
    for (const fn of undo) fn()
    rmSync(dir, { recursive: true })
  })

  for (const [i, entry] of CASES.entries()) {
    test(entry.name, async () => {
      const results = []
      for (const { proxy, listeners, log, asked } of sides) {
        const port = listeners[i]!
        const socket = entry.tls
          ? connectTls({ port, host: '127.0.0.1', ...client, servername: 'server.example', rejectUnauthorized: false })
          : connect(port, '127.0.0.1')
        const before = asked.length
        const got = await exchange(socket)
        const file = `${log}-${i}`
        const line = await until('a log line', () => readFileSync(file, 'utf8').trim() || undefined, 10_000)
        const stats = await proxy.admin(`/stats?usedonly&filter=^ext_authz.case${i}`)
        results.push({ got, line, stats: stats.trim().split('\n').sort(), asked: asked.slice(before) })
      }
      const [envoy, ours] = results
      assert.deepEqual(ours, envoy)
    })
  }
})

const portOf = (server: Server | Http2Server): number => (server.address() as AddressInfo).port

function startEcho(): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

const answer = (code: number): Uint8Array =>
  toBinary(CheckResponseSchema, create(CheckResponseSchema, { status: { code } }))

/** Keeps what it is asked, without the ports of clients. */
function startAuthorizer(asked: unknown[]): Promise<Http2Server> {
  return startGrpcService((message, headers) => {
    const request = toJson(CheckRequestSchema, fromBinary(CheckRequestSchema, message))
    asked.push(JSON.parse(JSON.stringify(request).replaceAll(/"portValue":\d+/g, '"portValue":0')))
    switch (String(headers[':authority']).split('-')[0]) {
      case 'silent':
        return null
      case 'error':
        return 13
      case 'garbage':
        return Buffer.from([0xff, 0xff, 0xff])
      case 'deny':
        return answer(7)
      default:
        return answer(0)
    }
  })
}

/** What comes back for `hello`, or `closed`. */
async function exchange(socket: Socket): Promise<string> {
  let got = ''
  let closed = false
  socket.on('error', () => {})
  socket.on('data', (chunk) => (got += chunk))
  socket.on('close', () => (closed = true))
  socket.write('hello')
  await until('an answer', () => closed || got.length === 5, 10_000)
  socket.destroy()
  return closed ? 'closed' : got
}
