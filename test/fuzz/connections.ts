// Connections with mutated requests through connection managers of any configuration, without sockets: no cluster is known.

import { fromBinary } from '@bufbuild/protobuf'
import type { FilterChain } from '../../src/api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { HttpConnectionManagerSchema } from '../../src/api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { createLogger } from '../../src/base/logger.ts'
import type { HttpFilterExtension, NetworkFilterExtension, WorkerContext } from '../../src/proxy/config/extension.ts'
import { createParseContext } from '../../src/proxy/config/extension-registry.ts'
import { checkRules } from '../../src/proxy/config/validate-rules.ts'
import { MemoryConnection } from '../../src/proxy/http/testing.ts'
import { ConnectionEvent } from '../../src/proxy/network/connection.ts'
import { FilterState } from '../../src/proxy/network/filter.ts'
import { StatsStore } from '../../src/proxy/observe/stats-store.ts'
import { NO_RUNTIME } from '../../src/proxy/route/testing.ts'
import { DnsCaches } from '../../src/proxy/upstream/dynamic-forward-proxy/dns-cache.ts'
import { mutate, pieces, type Random } from './random.ts'
import { registry } from './resources.ts'

const hcm = registry.get('network_filter', HttpConnectionManagerSchema.typeName) as unknown as NetworkFilterExtension

/** The connection managers of filter chains, parsed and as a worker gets them. Throws ConfigError. */
export function connectionManagers(chains: readonly FilterChain[]): unknown[] {
  const parsed: unknown[] = []
  for (const { filters } of chains)
    for (const { configType } of filters) {
      if (configType.case !== 'typedConfig' || !configType.value.typeUrl.endsWith(hcm.desc.typeName)) continue
      const message = fromBinary(HttpConnectionManagerSchema, configType.value.value)
      checkRules(HttpConnectionManagerSchema, message, '')
      parsed.push(structuredClone(hcm.parse(message, createParseContext(registry))))
    }
  return parsed
}

function context(): WorkerContext {
  const stats = new StatsStore()
  const caches = new DnsCaches(stats)
  return {
    workerIndex: 0,
    concurrency: 1,
    clusters: { get: () => undefined, dnsCache: (data) => caches.get(data) },
    stats,
    log: createLogger('test', 'off'),
    node: { id: 'n', cluster: 'c', zone: '', metadata: {} },
    routeTable: () => null,
    discovered: () => null,
    runtime: NO_RUNTIME,
    createAccessLog: () => ({ log() {} }),
    createHttpFilter(parsed, statPrefix) {
      const extension = registry.get('http_filter', parsed.typeUrl) as unknown as HttpFilterExtension
      return extension.create(parsed.config, this, statPrefix)
    },
    drain: { drainClose: () => false, healthCheckFailed: false },
    listener: null,
  }
}

/** Of HTTP/1 and HTTP/2. */
const REQUESTS = [
  `GET /jwt/a?b=c HTTP/1.1\r\nhost: a.example\r\nauthorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.AAAA\r\ncookie: a=b\r\n\r\n`,
  'POST /grpc HTTP/1.1\r\nhost: a.example\r\ncontent-type: application/grpc-web\r\ncontent-length: 7\r\n\r\n\0\0\0\0\x02ab',
  'OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: http://b\r\naccess-control-request-method: PUT\r\n\r\n',
  'PUT /x HTTP/1.1\r\nhost: a.example:80\r\nx-forwarded-for: 1.2.3.4, ::1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: u\r\n\r\n',
  'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-envoy-max-retries: 9\r\n\r\nbytes',
  'CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\nbytes',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a',
]
const REQUEST_TOKENS = [
  '\r\n',
  ': ',
  '/',
  '%2f',
  '..',
  '%',
  '?',
  '&',
  'x-envoy-retry-on: 5xx\r\n',
  '\0',
  '\xff',
  ';',
].map((text) => Buffer.from(text, 'latin1'))

/** Three connections, each with a request; how many were answered. */
export function serve(parsed: unknown, random: Random): number {
  let served = 0
  const create = hcm.create(parsed, context())
  for (let i = 0; i < 3; i++) {
    const connection = new MemoryConnection()
    const manager = create({
      connection,
      continueReading() {},
      injectReadData() {},
      filterState: new FilterState(),
      dynamicMetadata: {},
    })
    manager.onNewConnection()
    const request = mutate(random, Buffer.from(random.pick(REQUESTS), 'latin1'), REQUEST_TOKENS)
    for (const piece of random.next() < 0.5 ? [request] : pieces(random, request))
      if (connection.open) manager.onData(piece, false)
    if (connection.output.length > 0) served++
    manager.onEvent(ConnectionEvent.RemoteClose)
  }
  return served
}
