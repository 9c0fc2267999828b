// Seeded mutation of what listener filters read: PROXY protocol headers and TLS client hellos. Whatever comes in is decided
// without an exception, and the decision does not change when more bytes follow.

import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { parseProxyHeader } from '../../src/proxy/filters/listener/proxy-protocol/header.ts'
import { parseClientHello } from '../../src/proxy/network/client-hello.ts'
import { mutate, type Random } from './random.ts'
import { rounds } from './rounds.ts'

const fuzz = rounds(2)

function v2(family: number, command: number, block: Buffer): Buffer {
  const head = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
  const length = Buffer.alloc(2)
  length.writeUInt16BE(block.length)
  return Buffer.concat([head, Buffer.from([0x20 | command, family]), length, block])
}

const TLVS = Buffer.from('010003683278020002613920000a0100000000210001ff', 'hex')
const PROXY_HEADERS = [
  Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\nGET /'),
  Buffer.from('PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 65535\r\n'),
  Buffer.from('PROXY UNKNOWN anything at all\r\n'),
  v2(0x11, 1, Buffer.concat([Buffer.from('c0000201c6336402 9c4001bb'.replace(' ', ''), 'hex'), TLVS])),
  v2(0x21, 1, Buffer.concat([Buffer.alloc(36, 1), TLVS])),
  v2(0x31, 1, Buffer.alloc(216, 0x61)),
  v2(0x00, 0, TLVS),
]
const PROXY_TOKENS = ['PROXY ', '\r\n', '\r', ' ', 'TCP6', '::', '65536', '-1', '0x1', '\0', '\u00ff'].map((token) =>
  Buffer.from(token, 'latin1'),
)

/** The first decision as bytes arrive one by one, and that of all bytes. */
function decisions<T extends { readonly kind: string }>(bytes: Buffer, parse: (bytes: Buffer) => T): [T, T] {
  const whole = parse(bytes)
  for (let length = 1; length < bytes.length; length++) {
    const part = parse(Buffer.from(bytes.subarray(0, length)))
    if (part.kind !== 'need-more') return [part, whole]
  }
  return [whole, whole]
}

test('PROXY protocol headers', () => {
  fuzz((random) => {
    const bytes = mutate(random, random.pick(PROXY_HEADERS), PROXY_TOKENS)
    const [first, whole] = decisions(bytes, parseProxyHeader)
    assert.deepEqual(first, whole)
    if (whole.kind === 'header') {
      assert.ok(whole.header.length <= bytes.length)
      const { addresses } = whole.header
      for (const end of addresses === null ? [] : [addresses.source, addresses.destination])
        assert.ok(end.port >= 0 && end.port < 65536 && end.ip !== '', JSON.stringify(end))
    }
  })
})

/** What OpenSSL sends first. */
function hello(options: object): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read() {},
      write(chunk: Buffer) {
        resolve(chunk)
      },
    })
    connect({ socket: wire, rejectUnauthorized: false, ...options }).on('error', () => {})
  })
}

const HELLO_TOKENS = [
  Buffer.from([0xff, 0xff]),
  Buffer.from([0, 0]),
  Buffer.from([22, 3, 1, 0, 1]),
  Buffer.alloc(300, 1),
]

test('client hellos', async () => {
  const hellos = [
    await hello({ servername: 'a.example', ALPNProtocols: ['h2', 'http/1.1'] }),
    await hello({ maxVersion: 'TLSv1.2', servername: 'b.example' }),
    await hello({ minVersion: 'TLSv1.3' }),
  ]
  /** The hello over several records. */
  const cut = (bytes: Buffer, random: Random): Buffer => {
    const body = bytes.subarray(5)
    const at = 1 + random.below(body.length - 1)
    const record = (part: Buffer): Buffer =>
      Buffer.concat([Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part])
    return Buffer.concat([record(body.subarray(0, at)), record(body.subarray(at))])
  }
  fuzz((random) => {
    const valid = random.pick(hellos)
    const bytes = mutate(random, random.next() < 0.5 ? valid : cut(valid, random), HELLO_TOKENS)
    const [first, whole] = decisions(bytes, (part) => parseClientHello(part, 16 * 1024))
    assert.deepEqual(first, whole)
  })
})
