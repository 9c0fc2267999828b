import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import { AccessLogSchema } from '../../../api/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import { typeRegistry } from '../../../api/registry.ts'
import type { RuntimeSnapshot } from '../../config/extension.ts'
import { createParseContext, ExtensionRegistry } from '../../config/extension-registry.ts'
import { HeaderMap } from '../../http/header-map.ts'
import { ipAddress } from '../../network/address.ts'
import { SocketConnectionInfo } from '../../network/connection-info.ts'
import type { LogContext } from '../../observe/access-log.ts'
import { parseAccessLog } from '../../observe/access-log-config.ts'
import { type AccessLogFile, AccessLogFiles } from '../../observe/access-log-file.ts'
import { compileLogFilter } from '../../observe/access-log-filter.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import { StreamInfo } from '../../stream-info.ts'
import { createAccessLog } from './create.ts'
import { ACCESS_LOGGERS } from './loggers.ts'

const runtime: RuntimeSnapshot = {
  number: (_, fallback) => fallback,
  bool: (_, fallback) => fallback,
  fraction: (_, f) => f,
}

const registry = new ExtensionRegistry()
for (const logger of ACCESS_LOGGERS) registry.register('access_logger', logger)

function parse(json: JsonValue) {
  return parseAccessLog(
    fromJson(AccessLogSchema, json, { registry: typeRegistry }),
    createParseContext(registry, undefined, 'access_log[0]'),
  )
}

function fileLog(config: Record<string, JsonValue>, filter?: JsonValue) {
  const typed = { '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog', ...config }
  return parse({ name: 'log', typedConfig: typed, ...(filter ? { filter } : {}) })
}

function context(change: (info: StreamInfo, request: HeaderMap) => void = () => {}): LogContext {
  const info = new StreamInfo(new SocketConnectionInfo(ipAddress('127.0.0.1', 80), ipAddress('10.0.0.9', 999)), null)
  const requestHeaders = new HeaderMap()
  requestHeaders.method = 'GET'
  requestHeaders.path = '/a'
  info.responseCode = 200
  info.start = 100
  info.end = 112.9
  info.startTimeMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6)
  change(info, requestHeaders)
  return {
    info,
    requestHeaders,
    responseHeaders: null,
    responseTrailers: null,
    localReplyBody: '',
    type: 'DownstreamEnd',
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5)
}

function scratch(t: { after(fn: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'access-log-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

function writeLine(file: AccessLogFile, line: string): void {
  file.beginLine().put(line)
  file.endLine()
}

test('lines are written when the buffer is full, when the timer fires, and at the end', async (t) => {
  const path = join(scratch(t), 'a.log')
  const store = new StatsStore()
  const files = new AccessLogFiles(3_600_000, 100, store)
  const log = createAccessLog(
    fileLog({ path, logFormat: { textFormatSource: { inlineString: '%REQ(:METHOD)% %RESPONSE_CODE% é\n' } } }),
    files,
    runtime,
  )
  log.log(context())
  assert.equal(readFileSync(path, 'utf8'), '', 'nothing yet: 11 bytes are below the limit')
  for (let i = 0; i < 10; i++) log.log(context())
  await until(() => store.counter('filesystem.write_completed').value === 1)
  log.log(context())
  await files.close()
  assert.equal(readFileSync(path, 'utf8'), 'GET 200 é\n'.repeat(12))

  const quick = new AccessLogFiles(10, 1e6, store)
  const other = join(scratch(t), 'b.log')
  writeLine(quick.open(other), 'line\n')
  await until(() => readFileSync(other, 'utf8') === 'line\n')
  await quick.close()
})

test('the end waits for the write that runs', async (t) => {
  const path = join(scratch(t), 'end.log')
  const files = new AccessLogFiles(3_600_000, 1, new StatsStore())
  const file = files.open(path)
  writeLine(file, 'one\n')
  writeLine(file, 'two\n')
  await files.close()
  assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\n')
})

test('reopening goes on in a new file after a rotation', async (t) => {
  const path = join(scratch(t), 'a.log')
  const files = new AccessLogFiles(5, 1e6, new StatsStore())
  const file = files.open(path)
  writeLine(file, 'one\n')
  await until(() => readFileSync(path, 'utf8') === 'one\n')
  renameSync(path, `${path}.1`)
  files.reopen()
  await until(() => {
    writeLine(file, 'x\n')
    try {
      return readFileSync(path, 'utf8').length > 0
    } catch {
      return false
    }
  })
  await files.close()
  assert.match(readFileSync(`${path}.1`, 'utf8'), /^one\n/)
})

test('an access log that cannot be opened is an error that names it', async () => {
  const files = new AccessLogFiles(1000, 100, new StatsStore())
  assert.throws(
    () => createAccessLog(fileLog({ path: '/nowhere/x.log' }), files, runtime),
    /unable to open file '\/nowhere\/x.log'/,
  )
  await files.close()
})

test('filters choose streams', () => {
  const cases: [JsonValue, LogContext, boolean][] = [
    [
      { statusCodeFilter: { comparison: { op: 'GE', value: { defaultValue: 400, runtimeKey: 'k' } } } },
      context(),
      false,
    ],
    [
      { statusCodeFilter: { comparison: { op: 'LE', value: { defaultValue: 200, runtimeKey: 'k' } } } },
      context(),
      true,
    ],
    [{ durationFilter: { comparison: { op: 'EQ', value: { defaultValue: 12, runtimeKey: 'k' } } } }, context(), true],
    [{ notHealthCheckFilter: {} }, context((info) => (info.isHealthCheck = true)), false],
    [{ traceableFilter: {} }, context(), false],
    [{ responseFlagFilter: {} }, context(), false],
    [{ responseFlagFilter: {} }, context((info) => info.setFlag('UH')), true],
    [{ responseFlagFilter: { flags: ['NR'] } }, context((info) => info.setFlag('UH')), false],
    [
      { headerFilter: { header: { name: 'x-a', stringMatch: { exact: '1' } } } },
      context((_, h) => h.add('x-a', '1')),
      true,
    ],
    [{ grpcStatusFilter: { statuses: ['UNAVAILABLE'] } }, context((info) => (info.responseCode = 503)), true],
    [
      { grpcStatusFilter: { statuses: ['UNAVAILABLE'], exclude: true } },
      context((info) => (info.responseCode = 503)),
      false,
    ],
    [{ logTypeFilter: { types: ['DownstreamEnd'] } }, context(), true],
    [{ logTypeFilter: { types: ['DownstreamEnd'], exclude: true } }, context(), false],
    [
      { runtimeFilter: { runtimeKey: 'k', percentSampled: { numerator: 50 } } },
      context((_, h) => h.add('x-request-id', '00000031-0000-4000-8000-000000000000')),
      true,
    ],
    [
      { runtimeFilter: { runtimeKey: 'k', percentSampled: { numerator: 50 } } },
      context((_, h) => h.add('x-request-id', '00000032-0000-4000-8000-000000000000')),
      false,
    ],
    [
      { metadataFilter: { matcher: { filter: 'f', path: [{ key: 'k' }], value: { boolMatch: true } } } },
      context(),
      true,
    ],
    [
      {
        metadataFilter: {
          matcher: { filter: 'f', path: [{ key: 'k' }], value: { boolMatch: true } },
          matchIfKeyNotFound: false,
        },
      },
      context(),
      false,
    ],
    [
      { metadataFilter: { matcher: { filter: 'f', path: [{ key: 'k' }], value: { boolMatch: true } } } },
      context((info) => info.setDynamicMetadata('f', 'k', true)),
      true,
    ],
    [{ andFilter: { filters: [{ notHealthCheckFilter: {} }, { traceableFilter: {} }] } }, context(), false],
    [{ orFilter: { filters: [{ notHealthCheckFilter: {} }, { traceableFilter: {} }] } }, context(), true],
  ]
  for (const [filter, stream, logged] of cases) {
    const data = fileLog({ path: '/dev/null' }, filter).config.filter
    assert.ok(data)
    assert.equal(compileLogFilter(data, runtime)(stream), logged, JSON.stringify(filter))
  }
})

test('CEL expressions choose streams; an evaluation error logs nothing', () => {
  const cel = (expression: string) => ({
    extensionFilter: {
      name: 'envoy.access_loggers.extension_filters.cel',
      typedConfig: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter',
        expression,
      },
    },
  })
  const cases: [string, boolean][] = [
    ['response.code >= 400', false],
    ['response.code < 400 && request.method == "GET"', true],
    ['"x-a" in request.headers', false],
    ['has(request.referer)', false],
    ['request.url_path.startsWith("/a") && connection.mtls == false', true],
    ['request.headers["x-none"] == "1"', false],
    ['xds.cluster_name == "c"', false],
  ]
  for (const [expression, logged] of cases) {
    const data = fileLog({ path: '/dev/null' }, cel(expression)).config.filter
    assert.equal(compileLogFilter(data!, runtime)(context()), logged, expression)
  }
  assert.throws(
    () => fileLog({ path: '/dev/null' }, cel('response.code >=')),
    /typed_config\.expression: is no CEL expression/,
  )
})

test('what cannot be honoured is refused with its path', () => {
  assert.throws(
    () => fileLog({ path: '/dev/null', format: '%NOPE%' }),
    /^ConfigError: access_log\[0\].*format: Not supported field in StreamInfo: NOPE/,
  )
  assert.throws(
    () => fileLog({ path: '/dev/null', format: '%UPSTREAM_FILTER_STATE(x:NOPE)%' }),
    /Invalid filter state serialize type, only support PLAIN\/TYPED\/FIELD/,
  )
  assert.throws(
    () => fileLog({ path: '/dev/null', jsonFormat: { a: { b: '%' } } }),
    /json_format\.a\.b: Incorrect configuration/,
  )
  const extension = {
    extensionFilter: { name: 'other', typedConfig: { '@type': 'type.googleapis.com/google.protobuf.Empty' } },
  }
  assert.throws(() => fileLog({ path: '/dev/null' }, extension), /filter "other" is not supported/)
})

test("Envoy's default format and Istio's print a request without upstream", async (t) => {
  const path = join(scratch(t), 'a.log')
  const files = new AccessLogFiles(1000, 1e6, new StatsStore())
  const istio =
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n'
  createAccessLog(fileLog({ path }), files, runtime).log(context())
  createAccessLog(fileLog({ path, format: istio }), files, runtime).log(context())
  createAccessLog(fileLog({ path, jsonFormat: { b: '%BYTES_SENT%', a: '%REQ(X)%', c: 'x' } }), files, runtime).log(
    context(),
  )
  await files.close()
  assert.deepEqual(readFileSync(path, 'utf8').split('\n'), [
    '[2026-01-02T03:04:05.006Z] "GET /a -" 200 - 0 0 12 - "-" "-" "-" "-" "-"',
    '[2026-01-02T03:04:05.006Z] "GET /a -" 200 - - - "-" 0 0 12 - "-" "-" "-" "-" "-" - - 127.0.0.1:80 10.0.0.9:999 - -',
    '{"a":null,"b":0,"c":"x"}',
    '',
  ])
})
