// Huffman coding of strings (RFC 7541 §5.2, Appendix B); decoding goes four bits at a time.
//
// The code is canonical: ordered by length, then by symbol, codes count upwards. So the lengths alone give the table.

import { latin1 } from '../../../base/bytes.ts'

/** Code length of symbols 0 to 256 (EOS), one base-31 digit each. */
const LENGTHS =
  'dnsssssssoussussssssssusssssssss' +
  '6aacd68baa8b8666555666666678f6ca' +
  'd67777777777777777777777878djde6' +
  'f56565666577666567655677777fbeds' +
  'kmkkmmmnmnnnnnonoomnonnnnlmnmnno' +
  'mlkmmnnlnmmolmnnllmlnmnnkmmmnmmn' +
  'qqkjmnmpqqqrrqopjlqrrqrollqqsrrr' +
  'koklmllnmmppooqnqrqqrrrrrsrrrrrq' +
  'u'

const EOS = 256
/** Internal nodes of the code tree: one fewer than its leaves. */
const STATES = 256

/** Transition of state × nibble: low byte the next state, then the flags, then the symbol. */
const EMIT = 0x100
const FAIL = 0x200
const SYMBOL_SHIFT = 16
const transitions = new Int32Array(STATES * 16)
/** States in which a string may end: the bits since the last symbol are fewer than eight and all ones. */
const accepting = new Uint8Array(STATES)
/** Code and its length, by symbol. */
const codes = new Uint32Array(257)
const lengths = new Uint8Array(257)

function build(): void {
  // Children of internal nodes; leaves are -1 - symbol.
  const left = new Int32Array(STATES)
  const right = new Int32Array(STATES)
  let nodes = 1
  const symbols = Array.from({ length: 257 }, (_, symbol) => symbol)
  const lengthOf = (symbol: number): number => Number.parseInt(LENGTHS[symbol]!, 31)
  symbols.sort((a, b) => lengthOf(a) - lengthOf(b) || a - b)
  let code = 0
  let previous = 0
  for (const symbol of symbols) {
    const length = lengthOf(symbol)
    code *= 2 ** (length - previous)
    previous = length
    codes[symbol] = code
    lengths[symbol] = length
    let node = 0
    for (let bit = length - 1; bit >= 0; bit--) {
      const side = Math.floor(code / 2 ** bit) % 2 === 1 ? right : left
      if (bit === 0) side[node] = -1 - symbol
      else {
        if (side[node] === 0) side[node] = nodes++
        node = side[node]!
      }
    }
    code++
  }
  for (let state = 0; state < STATES; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state
      let flags = 0
      for (let bit = 3; bit >= 0; bit--) {
        node = ((nibble >> bit) & 1 ? right : left)[node]!
        if (node >= 0) continue
        const symbol = -1 - node
        flags = symbol === EOS ? FAIL : flags | EMIT | (symbol << SYMBOL_SHIFT)
        node = 0
        if (flags & FAIL) break
      }
      transitions[state * 16 + nibble] = flags | node
    }
  }
  let node = 0
  for (let ones = 0; ones < 8; ones++) {
    accepting[node] = 1
    node = right[node]!
  }
}
build()

let scratch = Buffer.allocUnsafeSlow(8 * 1024)

/** Decodes `[start, end)` to a byte string (one char per byte), or null for a wrong code, EOS or padding. */
export function huffmanDecode(buffer: Buffer, start: number, end: number): string | null {
  // The shortest code has five bits.
  const most = Math.ceil(((end - start) * 8) / 5)
  if (scratch.length < most) scratch = Buffer.allocUnsafeSlow(most * 2)
  const out = scratch
  let length = 0
  let state = 0
  for (let i = start; i < end; i++) {
    const byte = buffer[i]!
    const high = transitions[(state << 4) | (byte >> 4)]!
    if (high & EMIT) out[length++] = high >> SYMBOL_SHIFT
    const low = transitions[((high & 0xff) << 4) | (byte & 15)]!
    if (low & EMIT) out[length++] = low >> SYMBOL_SHIFT
    if ((high | low) & FAIL) return null
    state = low & 0xff
  }
  return accepting[state] === 1 ? latin1(out, 0, length) : null
}

/** Bytes that `text`, a byte string, takes when it is coded. */
export function huffmanLength(text: string): number {
  let bits = 0
  for (let i = 0; i < text.length; i++) bits += lengths[text.charCodeAt(i)]!
  return (bits + 7) >> 3
}

/** Writes the code of `text`, a byte string, at `at`; returns where it ends. */
export function huffmanEncode(text: string, out: Buffer, at: number): number {
  // At most 7 bits are left over and a code has at most 30: halves keep to 32 bits.
  let held = 0
  let count = 0
  const put = (code: number, length: number): void => {
    held = (held << length) | code
    count += length
    while (count >= 8) {
      count -= 8
      out[at++] = held >>> count
      held &= (1 << count) - 1
    }
  }
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i)
    const length = lengths[symbol]!
    const code = codes[symbol]!
    if (length > 16) {
      put(code >>> 16, length - 16)
      put(code & 0xffff, 16)
    } else put(code, length)
  }
  // The rest of the last byte is the beginning of EOS: ones.
  if (count > 0) out[at++] = (held << (8 - count)) | ((1 << (8 - count)) - 1)
  return at
}
