import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeaderMap } from '../../http/header-map.ts'
import { ipAddress } from '../../network/address.ts'
import { SocketConnectionInfo } from '../../network/connection-info.ts'
import { StreamInfo } from '../../stream-info.ts'
import { compileHeaderFormat } from './text-format.ts'
import { compileTime } from './time-format.ts'

function info(): StreamInfo {
  return new StreamInfo(new SocketConnectionInfo(ipAddress('10.1.2.3', 80), ipAddress('2001:db8::9:1', 4000)), null)
}

function print(format: string, change: (info: StreamInfo, headers: HeaderMap) => void = () => {}): string {
  const stream = info()
  const headers = new HeaderMap()
  change(stream, headers)
  return compileHeaderFormat(format, 'value').format(headers, null, stream)
}

test('a value without commands is a constant', () => {
  assert.equal(compileHeaderFormat('a%%b', 'value').constant, 'a%b')
  assert.equal(compileHeaderFormat('é', 'value').constant, 'Ã©', 'UTF-8 bytes, one char each')
  assert.equal(compileHeaderFormat('%PROTOCOL%', 'value').constant, null)
})

test('time patterns', () => {
  const time = Date.UTC(2026, 2, 4, 5, 6, 7, 89)
  const cases: [string | null, string][] = [
    [null, '2026-03-04T05:06:07.089Z'],
    ['%Y/%m/%d %H:%M:%S', '2026/03/04 05:06:07'],
    ['%s %3s %f %3f %6f', '1772600767 1772600767089 089000000 089 089000'],
    ['%E3S %E*S', '07.089 07.089000000'],
    ['%a %A %b %B %e %j %F %T %z', 'Wed Wednesday Mar March  4 063 2026-03-04 05:06:07 +0000'],
    ['100%%', '100%'],
  ]
  for (const [pattern, expected] of cases) assert.equal(compileTime(pattern, false, 'p')(time), expected)
  assert.throws(() => compileTime('%Q', false, 'p'), /unknown directive/)
})

test('addresses lose their port and may be masked', () => {
  assert.equal(
    print('%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%'),
    '10.1.2.3:80 10.1.2.3 80',
  )
  assert.equal(print('%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(20)%'), '10.1.0.0/20')
  assert.equal(
    print('%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(64)%'),
    '[2001:db8::9:1]:4000 2001:db8::/64',
  )
  assert.equal(
    print('%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%', (i) => (i.upstreamLocalAddress = '[::1]:9')),
    '::1 9',
  )
})

test('durations between named points', () => {
  const format = '%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%|%COMMON_DURATION(US_TX_BEG:US_TX_END)%'
  assert.equal(
    print(format, (i) => {
      i.start = 10
      i.firstUpstreamRxByte = 12.5
    }),
    '2500|',
  )
  assert.throws(() => compileHeaderFormat('%COMMON_DURATION(A:B)%', 'value'), /Invalid common duration/)
})

test('gRPC status by name and number, from the HTTP status when there is none', () => {
  const grpc = (i: StreamInfo, h: HeaderMap) => {
    h.path = '/s/m'
    h.add('content-type', 'application/grpc')
    i.responseCode = 503
  }
  assert.equal(
    print('%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%', grpc),
    'Unavailable UNAVAILABLE 14',
  )
  assert.throws(() => compileHeaderFormat('%GRPC_STATUS(X)%', 'value'), /only supports/)
})

test('metadata and filter state', () => {
  const set = (i: StreamInfo) => {
    i.setDynamicMetadata('ns', 'object', { a: [1, true] })
    i.setDynamicMetadata('ns', 'text', 'long value')
    i.filterState.set('key', { serializeAsString: () => 'plain', getField: (name: string) => `field ${name}` })
    i.filterState.set('text', 'value')
  }
  assert.equal(
    print('%DYNAMIC_METADATA(ns:object)% %DYNAMIC_METADATA(ns:text):4% %DYNAMIC_METADATA(ns:none)%', set),
    '{"a":[1,true]} long ',
  )
  assert.equal(
    print('%FILTER_STATE(key:PLAIN)% %FILTER_STATE(key:FIELD:f)% %FILTER_STATE(text)%', set),
    'plain field f "value"',
  )
})

test('CEL values as text', () => {
  const set = (i: StreamInfo, h: HeaderMap) => {
    i.responseCode = 503
    h.add('x-a', 'b')
  }
  const text =
    "%CEL(response.code)% %CEL(request.headers['x-a'])%|%CEL(request.headers['none'])%|%CEL([1, 'a'])%|%CEL({'a': 1})%"
  assert.equal(print(text, set), '503 b||CelList value|CelMap value')
  assert.throws(() => compileHeaderFormat('%CEL(nonsense(%)%', 'value'), /CEL|Incorrect configuration/)
})

test('COALESCE prints the first command that has something', () => {
  const coalesce = (operators: unknown, length = '') => `%COALESCE(${JSON.stringify({ operators })})${length}%`
  const set = (i: StreamInfo, h: HeaderMap) => {
    i.responseCode = 503
    h.add('x-a', 'long value')
  }
  const header = (param: string, max_length?: number) => ({ command: 'REQ', param, max_length })
  assert.equal(print(coalesce([header('none'), header('x-a'), 'RESPONSE_CODE']), set), 'long value')
  assert.equal(print(coalesce([header('none?x-a', 4)]), set), 'long')
  assert.equal(print(coalesce([header('x-a')], ':6'), set), 'long v')
  assert.equal(print(coalesce(['TRACE_ID', 'RESPONSE_CODE']), set), '503')
  assert.equal(print(`<${coalesce(['TRACE_ID', header('none')])}>`, set), '<>')
  // Present though empty.
  assert.equal(print(`<${coalesce(['LOCAL_REPLY_BODY', 'RESPONSE_CODE'])}>`, set), '<>')
  const refused = (format: string, reason: RegExp) => assert.throws(() => compileHeaderFormat(format, 'value'), reason)
  refused('%COALESCE%', /value: COALESCE requires parameters/)
  refused('%COALESCE(x)%', /value: COALESCE: failed to parse JSON configuration/)
  refused('%COALESCE({})%', /JSON configuration must contain 'operators' array/)
  refused(coalesce('x'), /'operators' must be an array/)
  refused(coalesce([]), /'operators' array must not be empty/)
  refused(coalesce(['RESPONSE_CODE', 'REQ']), /failed to parse operator at index 1: REQ requires parameters/)
  refused(coalesce([1]), /index 0: operator entry must be either a string/)
  refused(coalesce([{}]), /must have 'command' field/)
  refused(coalesce([header('x-a', 0)]), /'max_length' must be a positive integer/)
  refused(coalesce([{ command: 'RESPONSE_CODE', max_length: 3 }]), /does not take any parameters or length/)
})
