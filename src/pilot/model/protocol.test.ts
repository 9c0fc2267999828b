import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kubeProtocol, listenerProtocol } from './protocol.ts'

test('a port speaks what transport, appProtocol, name and number say, in this order', () => {
  const cases: [port: number, name: string, transport: string, app: string | undefined, want: string][] = [
    [80, 'http', 'UDP', undefined, 'UDP'],
    [80, 'http-web', 'TCP', undefined, 'HTTP'],
    [80, 'GRPC-web-x', 'TCP', undefined, 'GRPC-Web'],
    [80, 'tcp-x', 'TCP', 'grpc', 'GRPC'],
    [80, 'x', 'TCP', 'kubernetes.io/h2c', 'HTTP2'],
    [80, 'x', 'TCP', 'kubernetes.io/ws', 'HTTP'],
    [80, 'x', 'TCP', 'kubernetes.io/wss', 'HTTPS'],
    [80, 'http', 'TCP', 'example.com/custom', 'Unsupported'],
    [80, 'foo', 'TCP', undefined, 'Unsupported'],
    [3306, 'db', 'TCP', undefined, 'TCP'],
    [3306, 'http', 'TCP', undefined, 'HTTP'],
    [1, 'hbone', 'TCP', undefined, 'Unsupported'],
  ]
  for (const [port, name, transport, app, want] of cases) {
    assert.equal(kubeProtocol(port, name, transport, app), want, `${name} ${app ?? ''}`)
  }
})

test('listeners treat unknown protocols by sniffing, UDP not at all', () => {
  assert.equal(listenerProtocol('Unsupported'), 'AUTO')
  assert.equal(listenerProtocol('UDP'), 'UNKNOWN')
  assert.equal(listenerProtocol('HTTPS'), 'TCP')
  assert.equal(listenerProtocol('GRPC'), 'HTTP')
})
