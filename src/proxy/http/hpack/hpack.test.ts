import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HpackDecoder } from './decoder.ts'
import { HpackEncoder } from './encoder.ts'
import { huffmanDecode, huffmanEncode, huffmanLength } from './huffman.ts'

type Fields = [string, string][]

function decode(decoder: HpackDecoder, hex: string): Fields | null {
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  const fields: Fields = []
  const ok = decoder.decode(bytes, 0, bytes.length, { onHeader: (name, value) => fields.push([name, value]) })
  return ok ? fields : null
}

function encode(encoder: HpackEncoder, fields: Fields): Buffer {
  encoder.begin()
  for (const [name, value] of fields) encoder.field(name, value)
  return Buffer.from(encoder.buffer.subarray(0, encoder.length))
}

const REQUESTS: Fields[] = [
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
    ['cache-control', 'no-cache'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':path', '/index.html'],
    [':authority', 'www.example.com'],
    ['custom-key', 'custom-value'],
  ],
]
const RESPONSES: Fields[] = [
  [
    [':status', '302'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '307'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '200'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
    ['location', 'https://www.example.com'],
    ['content-encoding', 'gzip'],
    ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
  ],
]

/** RFC 7541 Appendix C: table size, blocks of one connection, fields of each. */
const VECTORS: [string, number, string[], Fields[]][] = [
  [
    'C.3 requests',
    4096,
    [
      '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '8286 84be 5808 6e6f 2d63 6163 6865',
      '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    ],
    REQUESTS,
  ],
  [
    'C.4 requests with Huffman coding',
    4096,
    [
      '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      '8286 84be 5886 a8eb 1064 9cbf',
      '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    ],
    REQUESTS,
  ],
  [
    'C.6 responses with Huffman coding and eviction',
    256,
    [
      '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
      '4883 640e ffc1 c0bf',
      '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
    ],
    RESPONSES,
  ],
]

for (const [name, size, blocks, expected] of VECTORS) {
  test(`decodes RFC 7541 ${name}`, () => {
    const decoder = new HpackDecoder(size)
    for (const [i, block] of blocks.entries()) assert.deepEqual(decode(decoder, block), expected[i])
  })
}

test('what the encoder writes decodes to the same fields, with indexing, eviction and size updates', () => {
  const encoder = new HpackEncoder(4096)
  const decoder = new HpackDecoder(4096)
  for (let round = 0; round < 300; round++) {
    if (round === 50) encoder.setPeerTableSize(0)
    if (round === 60) encoder.setPeerTableSize(200)
    if (round === 70) {
      encoder.setPeerTableSize(64)
      encoder.setPeerTableSize(4096)
    }
    const fields: Fields = [
      ...REQUESTS[round % 3]!,
      ['x-round', String(round)],
      [`x-name-${round % 90}`, 'v'.repeat(round % 40)],
      ['x-large', 'y'.repeat(round === 100 ? 5000 : 10)],
      ['cookie', round % 2 ? 'short=1' : 'long=abcdefghijklmnopqrstuvwxyz'],
      ['authorization', 'Basic abc'],
      ['x-bytes', '\x80\xff é'],
    ]
    const block = encode(encoder, fields)
    assert.deepEqual(decode(decoder, block.toString('hex')), fields)
  }
})

test('a repeated block shrinks to one byte a field', () => {
  const encoder = new HpackEncoder(4096)
  encode(encoder, REQUESTS[2]!)
  assert.equal(encode(encoder, REQUESTS[2]!).length, REQUESTS[2]!.length)
})

test('secrets are never indexed', () => {
  const encoder = new HpackEncoder(4096)
  assert.equal(encode(encoder, [['authorization', 'x']])[0]! & 0xf0, 0x10)
  assert.equal(encode(encoder, [['cookie', 'id=1']])[0]! & 0xf0, 0x10)
})

test('a smaller table than the default is announced in the first block', () => {
  const encoder = new HpackEncoder(100)
  assert.equal(encode(encoder, [])[0], 0x3f)
  assert.equal(encode(encoder, []).length, 0)
})

test('malformed blocks are refused', () => {
  for (const hex of [
    '80', // index 0
    'be', // beyond both tables
    'ff', // integer cut off
    'ffffffffffff7f', // integer too large
    '4005', // string cut off
    '400161', // value missing
    '40 8100 0161', // Huffman padding of zeros
    '40 82ffff 0161', // padding longer than seven bits
    '40 84ffffffff 0161', // EOS
    '82 20', // size update after a field
    '3fe21f', // size update above our setting
  ]) {
    assert.equal(decode(new HpackDecoder(4096), hex), null, hex)
  }
})

test('codes of RFC 7541 Appendix B, short to long', () => {
  for (const [bits, symbol] of [
    ['00000', '0'],
    ['010100', ' '],
    ['1111111000', '!'],
    ['1111111111001', '$'],
    ['1111111111111110000', '\\'],
    ['111111111111111111111111111100', '\n'],
  ] as const) {
    const octets = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1').match(/.{8}/g)!
    const bytes = Buffer.from(octets.map((octet) => Number.parseInt(octet, 2)))
    assert.equal(huffmanDecode(bytes, 0, bytes.length), symbol)
  }
})

test('Huffman coding of RFC 7541 C.4, and of every symbol after every other', () => {
  const coded = (text: string): string => {
    const out = Buffer.alloc(huffmanLength(text))
    assert.equal(huffmanEncode(text, out, 0), out.length)
    return out.toString('hex')
  }
  assert.equal(coded('www.example.com'), 'f1e3c2e5f23a6ba0ab90f4ff')
  assert.equal(coded('no-cache'), 'a8eb10649cbf')
  assert.equal(coded(''), '')
  for (let first = 0; first < 256; first++) {
    let text = ''
    for (let second = 0; second < 256; second++) text += String.fromCharCode(first, second)
    const out = Buffer.from(coded(text), 'hex')
    assert.equal(huffmanDecode(out, 0, out.length), text)
  }
})

test('an encoder that is asked to codes what becomes shorter', () => {
  const plain = new HpackEncoder(4096)
  const coding = new HpackEncoder(4096, true)
  const fields: Fields = [
    ['x-text', 'www.example.com'],
    ['x-bytes', '\x80\xff\x00'],
  ]
  const [long, short] = [encode(plain, fields), encode(coding, fields)]
  assert.ok(short.length < long.length)
  assert.ok(!short.includes('example'))
  assert.ok(short.includes(Buffer.from('\x80\xff\x00', 'latin1')))
  assert.deepEqual(decode(new HpackDecoder(4096), short.toString('hex')), fields)
})
