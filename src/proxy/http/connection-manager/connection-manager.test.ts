// The connection manager over an in-memory connection: request acceptance (envoy-contract §5.2) row by row, and the
// filter chain with scripted filters.

import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { HttpConnectionManagerSchema } from '../../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { createLogger } from '../../../base/logger.ts'
import type { WorkerContext } from '../../config/extension.ts'
import { createParseContext } from '../../config/extension-registry.ts'
import { parseJson } from '../../config/json.ts'
import { parseHttpConnectionManager } from '../../filters/network/http-connection-manager/config.ts'
import { registerExtensions } from '../../filters/register.ts'
import { ConnectionEvent } from '../../network/connection.ts'
import { setFaultReporter } from '../../network/fault.ts'
import { FilterState } from '../../network/filter.ts'
import type { LogContext } from '../../observe/access-log.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import { NO_RUNTIME } from '../../route/testing.ts'
import { RESPONSE_FLAGS } from '../../stream-info.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type StreamDecoderFilterCallbacks,
  type StreamEncoderFilterCallbacks,
  type StreamFilter,
} from '../filter.ts'
import { frame } from '../h2/testing.ts'
import { HeaderMap } from '../header-map.ts'
import { MemoryConnection } from '../testing.ts'
import { ConnectionManager } from './connection-manager.ts'
import { SharedState } from './shared.ts'

/** Passes everything and writes down what it sees; tests override what they are about. */
class Recorder implements StreamFilter {
  readonly name: string
  readonly log: string[]
  decoder!: StreamDecoderFilterCallbacks
  encoder!: StreamEncoderFilterCallbacks
  constructor(name: string, log: string[]) {
    this.name = name
    this.log = log
  }
  setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void {
    this.decoder = callbacks
  }
  setEncoderFilterCallbacks(callbacks: StreamEncoderFilterCallbacks): void {
    this.encoder = callbacks
  }
  decodeHeaders(_headers: HeaderMap, end: boolean): FilterHeadersStatus {
    this.note('headers', end)
    return FilterHeadersStatus.Continue
  }
  decodeData(chunk: Buffer, end: boolean): FilterDataStatus {
    this.note(`data ${chunk.toString()}`, end)
    return FilterDataStatus.Continue
  }
  decodeTrailers(): FilterTrailersStatus {
    this.note('trailers', true)
    return FilterTrailersStatus.Continue
  }
  encodeHeaders(headers: HeaderMap, end: boolean): FilterHeadersStatus {
    this.note(`response ${headers.status}`, end)
    return FilterHeadersStatus.Continue
  }
  encodeData(chunk: Buffer, end: boolean): FilterDataStatus {
    this.note(`response data ${chunk.toString()}`, end)
    return FilterDataStatus.Continue
  }
  encodeTrailers(): FilterTrailersStatus {
    this.note('response trailers', true)
    return FilterTrailersStatus.Continue
  }
  onDestroy(): void {
    this.note('destroyed', false)
  }
  note(what: string, end: boolean): void {
    this.log.push(`${this.name}: ${what}${end ? ' end' : ''}`)
  }
}

/** The last filter: answers 200 with `ok` when the request is complete. */
class Terminal extends Recorder {
  override decodeHeaders(headers: HeaderMap, end: boolean): FilterHeadersStatus {
    super.decodeHeaders(headers, end)
    if (end) this.answer()
    return FilterHeadersStatus.StopIteration
  }
  override decodeData(chunk: Buffer, end: boolean): FilterDataStatus {
    super.decodeData(chunk, end)
    if (end) this.answer()
    return FilterDataStatus.StopIterationNoBuffer
  }
  answer(): void {
    const headers = new HeaderMap()
    headers.status = 200
    headers.list.push('content-length', '2')
    this.decoder.encodeHeaders(headers, false, 'via_upstream')
    this.decoder.encodeData(Buffer.from('ok'), true)
  }
}

const flagNames = (bits: number): string =>
  RESPONSE_FLAGS.filter((_, i) => bits & (1 << i))
    .map(([short]) => short)
    .join(',')

class Bench {
  readonly connection = new MemoryConnection()
  readonly stats = new StatsStore()
  readonly log: string[] = []
  /** `code details flags` of each access log line. */
  readonly lines: string[] = []
  readonly manager: ConnectionManager

  constructor(hcm: object = {}, filters: readonly StreamFilter[] = []) {
    const routes = [{ match: { prefix: '/' }, direct_response: { status: 200 } }]
    const message = parseJson(
      HttpConnectionManagerSchema,
      {
        stat_prefix: 't',
        route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes }] },
        http_filters: [
          {
            name: 'router',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
          },
        ],
        ...hcm,
      },
      { path: '' },
    )
    const chain = [...filters, new Terminal('end', this.log)]
    const context: WorkerContext = {
      workerIndex: 0,
      concurrency: 1,
      clusters: {
        get: () => undefined,
        dnsCache: () => {
          throw new Error('no DNS cache in these tests')
        },
      },
      stats: this.stats,
      log: createLogger('test', 'off'),
      node: { id: 'n', cluster: 'c', zone: '', metadata: {} },
      routeTable: () => null,
      discovered: () => null,
      runtime: NO_RUNTIME,
      createAccessLog: () => ({
        log: ({ info }: LogContext) =>
          this.lines.push(`${info.responseCode} ${info.responseCodeDetails} ${flagNames(info.responseFlags)}`.trim()),
      }),
      createHttpFilter: () => (callbacks) => {
        for (const filter of chain) callbacks.addStreamFilter(filter)
      },
      drain: { drainClose: () => false, healthCheckFailed: false },
      listener: null,
    }
    const config = parseHttpConnectionManager(message, createParseContext(registerExtensions()))
    const shared = new SharedState({ ...config, accessLogs: [{ name: 'log', typeUrl: '', config: null }] }, context)
    const { connection } = this
    this.manager = new ConnectionManager(shared, {
      connection,
      continueReading() {},
      injectReadData() {},
      filterState: new FilterState(),
      dynamicMetadata: {},
    })
    this.manager.onNewConnection()
  }

  send(text: string): void {
    this.manager.onData(Buffer.from(text, 'latin1'), false)
  }

  get output(): string {
    return this.connection.output.toString('latin1')
  }

  counter(name: string): number {
    return this.stats.counter(`http.t.${name}`).value
  }
}

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
const post = (body: string): string => `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`

describe('request acceptance', () => {
  const rows: [what: string, request: string, line: string, counter: string | null, hcm?: object][] = [
    ['no host', 'GET / HTTP/1.1\r\n\r\n', '400 missing_host_header', null],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\nhost: a\r\n\r\n', '426 low_version DPE', 'downstream_cx_protocol_error'],
    [
      'asterisk form',
      'OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n',
      '404 absolute_path_rejected',
      'downstream_rq_non_relative_path',
    ],
    [
      'path that cannot be normalised',
      'GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n',
      '400 path_normalization_failed',
      'downstream_rq_failed_path_normalization',
      { normalize_path: true },
    ],
    [
      'escaped slash refused',
      'GET /a%2fb HTTP/1.1\r\nhost: a\r\n\r\n',
      '400 path_normalization_failed',
      'downstream_rq_failed_path_normalization',
      { path_with_escaped_slashes_action: 'REJECT_REQUEST' },
    ],
    [
      'escaped slash redirected',
      'GET /a%2fb HTTP/1.1\r\nhost: a\r\n\r\n',
      '307 path_normalization_failed',
      'downstream_rq_redirected_with_normalized_path',
      { path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT' },
    ],
    [
      'upgrade without permission',
      'GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
      '403 upgrade_failed',
      'downstream_rq_ws_on_non_ws_route',
    ],
    [
      'syntax error',
      'GET /a b HTTP/1.1\r\nhost: a\r\n\r\n',
      '400 http1.codec_error DPE',
      'downstream_cx_protocol_error',
    ],
  ]
  for (const [what, request, line, counter, hcm] of rows) {
    test(what, () => {
      const bench = new Bench(hcm)
      bench.send(request)
      assert.deepEqual(bench.lines, [line])
      assert.ok(bench.output.startsWith(`HTTP/1.1 ${line.slice(0, 3)} `))
      if (counter) assert.equal(bench.counter(counter), 1)
      assert.equal(bench.counter(`downstream_rq_${line[0]}xx`), 1)
      assert.ok(
        bench.log.length > 0 && bench.log.every((event) => /response|destroyed/.test(event)),
        'filters see the answer only',
      )
    })
  }
})

describe('filter chain', () => {
  test('decoder filters run first to last, encoder filters last to first, each is destroyed once', () => {
    const log: string[] = []
    const bench = new Bench({}, [new Recorder('a', log), new Recorder('b', log)])
    bench.send(post('hi'))
    assert.deepEqual(log, [
      'a: headers',
      'b: headers',
      'a: data hi end',
      'b: data hi end',
      'b: response 200',
      'a: response 200',
      'b: response data ok end',
      'a: response data ok end',
      'a: destroyed',
      'b: destroyed',
    ])
    assert.ok(bench.output.endsWith('\r\n\r\nok'))
    assert.deepEqual(bench.lines, ['200 via_upstream'])
  })

  test('a filter that stops holds the rest back until it goes on', () => {
    const log: string[] = []
    const stopping = new (class extends Recorder {
      override decodeHeaders(headers: HeaderMap, end: boolean): FilterHeadersStatus {
        super.decodeHeaders(headers, end)
        return FilterHeadersStatus.StopAllIterationAndBuffer
      }
    })('stop', log)
    const bench = new Bench({}, [stopping])
    bench.send(post('hi'))
    assert.deepEqual(log, ['stop: headers'])
    assert.deepEqual(bench.log, [])
    stopping.decoder.continueDecoding()
    assert.deepEqual(bench.log.slice(0, 2), ['end: headers', 'end: data hi end'])
  })

  test('a filter that buffers more than the limit is answered with 413', () => {
    const log: string[] = []
    const buffering = new (class extends Recorder {
      override decodeHeaders(): FilterHeadersStatus {
        return FilterHeadersStatus.StopIteration
      }
      override decodeData(): FilterDataStatus {
        return FilterDataStatus.StopIterationAndBuffer
      }
    })('buffer', log)
    const bench = new Bench({}, [buffering])
    const limit = buffering.decoder?.bufferLimit ?? 1024 * 1024
    bench.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${limit * 2}\r\n\r\n`)
    bench.send('x'.repeat(limit + 1))
    assert.deepEqual(bench.lines, ['413 request_payload_too_large'])
    assert.equal(bench.counter('downstream_rq_too_large'), 1)
    assert.deepEqual(bench.log, ['end: response 413', 'end: response data Payload Too Large end', 'end: destroyed'])
  })

  test('a filter that streams more than the limit pauses the client instead', () => {
    const log: string[] = []
    const slow = new (class extends Recorder {
      override decodeHeaders(): FilterHeadersStatus {
        return FilterHeadersStatus.StopAllIterationAndWatermark
      }
    })('slow', log)
    const bench = new Bench({}, [slow])
    const size = 1024 * 1024 + 1
    bench.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${size}\r\n\r\n`)
    bench.send('x'.repeat(size))
    assert.equal(bench.connection.paused, 1)
    slow.decoder.continueDecoding()
    assert.equal(bench.connection.paused, 0)
    assert.deepEqual(bench.lines, ['200 via_upstream'])
  })

  test('a local reply runs through the encoder filters, and later filters never see the request', () => {
    const log: string[] = []
    const refusing = new (class extends Recorder {
      override decodeHeaders(): FilterHeadersStatus {
        this.decoder.sendLocalReply(403, 'no', (headers) => headers.add('x-why', 'rule'), null, 'refused')
        return FilterHeadersStatus.StopIteration
      }
    })('refuse', log)
    const bench = new Bench({}, [new Recorder('first', log), refusing])
    bench.send(GET)
    assert.deepEqual(bench.lines, ['403 refused'])
    assert.ok(bench.output.includes('x-why: rule\r\n'))
    assert.deepEqual(bench.log, ['end: response 403', 'end: response data no end', 'end: destroyed'])
    assert.ok(log.includes('first: response 403'))
  })

  test('a local reply to gRPC is trailers-only', () => {
    const refusing = new (class extends Recorder {
      override decodeHeaders(): FilterHeadersStatus {
        this.decoder.sendLocalReply(403, 'no way', null, null, 'refused')
        return FilterHeadersStatus.StopIteration
      }
    })('refuse', [])
    const bench = new Bench({}, [refusing])
    bench.send('POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n')
    assert.ok(bench.output.startsWith('HTTP/1.1 200 OK\r\n'))
    assert.ok(bench.output.includes('grpc-status: 7\r\ngrpc-message: no way\r\n'))
  })

  test('an encoder filter may hold the response', () => {
    const log: string[] = []
    const holding = new (class extends Recorder {
      override encodeHeaders(): FilterHeadersStatus {
        return FilterHeadersStatus.StopIteration
      }
      override encodeData(): FilterDataStatus {
        return FilterDataStatus.StopIterationAndBuffer
      }
    })('hold', log)
    const bench = new Bench({}, [holding])
    bench.send(GET)
    assert.equal(bench.output, '')
    holding.encoder.continueEncoding()
    assert.ok(bench.output.endsWith('\r\n\r\nok'))
  })
})

describe('connection', () => {
  test('a client that goes away resets its streams', () => {
    const log: string[] = []
    const waiting = new (class extends Recorder {
      override decodeHeaders(): FilterHeadersStatus {
        return FilterHeadersStatus.StopIteration
      }
    })('wait', log)
    const bench = new Bench({}, [waiting])
    bench.send(GET)
    assert.equal(bench.stats.gauge('http.t.downstream_rq_active').value, 1)
    bench.manager.onEvent(ConnectionEvent.RemoteClose)
    assert.deepEqual(bench.lines, ['0 downstream_remote_disconnect DC'])
    assert.deepEqual(log, ['wait: destroyed'])
    assert.equal(bench.counter('downstream_rq_rx_reset'), 1)
    assert.equal(bench.counter('downstream_cx_destroy_remote_active_rq'), 1)
    assert.equal(bench.stats.gauge('http.t.downstream_rq_active').value, 0)
    assert.equal(bench.stats.gauge('http.t.downstream_cx_active').value, 0)
  })

  test('requests are counted and the last one of a connection says so', () => {
    const bench = new Bench({ common_http_protocol_options: { max_requests_per_connection: 2 } })
    bench.send(GET + GET)
    assert.equal(bench.counter('downstream_rq_total'), 2)
    assert.equal(bench.counter('downstream_cx_max_requests_reached'), 1)
    assert.equal(bench.output.match(/connection: close/g)?.length, 1)
    assert.equal(bench.connection.open, false)
  })

  test('an HTTP/2 connection that ends waits for the body that waits for the client’s window', () => {
    const windowOfOne = frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 0, 1]))
    // :method GET, :scheme http, :path /, :authority a (RFC 7541 appendix A)
    const request = frame(1, 5, 1, Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]))
    const bench = new Bench({ drain_timeout: '0s', common_http_protocol_options: { max_requests_per_connection: 1 } })
    bench.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    bench.manager.onData(Buffer.concat([windowOfOne, request]), false)
    assert.ok(bench.connection.output.includes(frame(0, 0, 1, Buffer.from('o'))))
    assert.equal(bench.connection.open, true)
    bench.manager.onData(frame(8, 0, 1, Buffer.from([0, 0, 0, 1])), false)
    assert.ok(bench.connection.output.includes(frame(0, 1, 1, Buffer.from('k'))))
    assert.equal(bench.connection.open, false)
  })
})

/** Throws where told. */
class Faulty extends Recorder {
  at = ''
  override note(what: string, end: boolean): void {
    super.note(what, end)
    if (this.at !== '' && what.startsWith(this.at)) throw new Error(`at ${what}`)
  }
}

describe('a fault of our own', () => {
  /** Texts of the faults that the test causes. */
  const faultsOf = (t: TestContext): string[] => {
    const told: string[] = []
    const before = setFaultReporter((error) => told.push((error as Error).message))
    t.after(() => setFaultReporter(before))
    return told
  }

  test('in the request direction is answered 500, and the connection goes on', (t) => {
    const told = faultsOf(t)
    const faulty = new Faulty('f', [])
    const bench = new Bench({}, [faulty])
    faulty.at = 'headers'
    bench.send(GET)
    faulty.at = ''
    bench.send(GET)
    assert.equal(bench.connection.open, true)
    faulty.at = 'data'
    bench.send(post('body'))
    assert.deepEqual(told, ['at headers', 'at data body'])
    assert.deepEqual(bench.lines, ['500 internal_error', '200 via_upstream', '500 internal_error'])
    assert.equal(bench.stats.gauge('http.t.downstream_rq_active').value, 0)
  })

  test('in the response direction is answered past the filters, which are destroyed each', (t) => {
    const told = faultsOf(t)
    const [faulty, second] = [new Faulty('f', []), new Recorder('g', [])]
    const bench = new Bench({}, [faulty, second])
    faulty.at = 'response'
    bench.send(GET)
    assert.deepEqual(told, ['at response 200'])
    assert.deepEqual(bench.lines, ['500 internal_error'])
    assert.equal(bench.connection.open, true)
    const other = new Bench({}, [faulty, second])
    faulty.at = 'destroyed'
    other.send(GET + GET)
    assert.deepEqual(other.lines, ['200 via_upstream', '200 via_upstream'])
    assert.equal(second.log.filter((line) => line === 'g: destroyed').length, 3)
  })

  test('after a filter has resumed is not the caller’s, nor is that of a timer', async (t) => {
    const told = faultsOf(t)
    const waiting = new (class extends Recorder {
      override decodeHeaders(): FilterHeadersStatus {
        return FilterHeadersStatus.StopIteration
      }
    })('wait', [])
    const faulty = new Faulty('f', [])
    const bench = new Bench({ stream_idle_timeout: '0.01s' }, [waiting, faulty])
    faulty.at = 'headers'
    bench.send(GET)
    waiting.decoder.continueDecoding()
    assert.deepEqual(bench.lines, ['500 internal_error'])
    faulty.at = 'response 504'
    bench.send(GET)
    while (bench.lines.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.deepEqual(told, ['at headers', 'at response 504'])
    assert.equal(bench.lines[1], '500 internal_error SI')
  })

  test('of one HTTP/2 stream leaves the others', (t) => {
    const told = faultsOf(t)
    const faulty = new Faulty('f', [])
    const bench = new Bench({}, [faulty])
    bench.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0')
    const get = (id: number): string => `\0\0\x06\x01\x05\0\0\0${String.fromCharCode(id)}\x82\x86\x84\x41\x01a`
    faulty.at = 'response'
    bench.send(get(1))
    faulty.at = ''
    bench.send(get(3) + get(5))
    assert.deepEqual(told, ['at response 200'])
    assert.deepEqual(bench.lines, ['500 internal_error', '200 via_upstream', '200 via_upstream'])
    assert.equal(bench.connection.open, true)
  })
})
