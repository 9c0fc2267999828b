// The API as Envoy's own binary knows it: protoc's C++ keeps each .proto file in it as a serialised FileDescriptorProto.

import { readFileSync } from 'node:fs'
import { fromBinary } from '@bufbuild/protobuf'
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'

/** `.proto` at the end of `name`, and the tag of the field after it: `package`. */
const END_OF_NAME = '.proto\x12'
const NAME_BYTE = /[A-Za-z0-9_./-]/
/** Field numbers of FileDescriptorProto. protoc writes fields in the order of their numbers; proto3 ends with `syntax`. */
const NAME = 1
const SYNTAX = 12
const LENGTH_DELIMITED = 2

/** Every .proto file in the binary, by its path. The binary has some twice, with options and without: the longer one. */
export function envoyDescriptors(binary: string): Map<string, FileDescriptorProto> {
  const image = readFileSync(binary)
  const longest = new Map<string, Uint8Array>()
  for (let dot = image.indexOf(END_OF_NAME); dot >= 0; dot = image.indexOf(END_OF_NAME, dot + 1)) {
    const end = dot + '.proto'.length
    const start = startOfFile(image, end)
    if (start < 0) continue
    const bytes = image.subarray(start, endOfFile(image, start))
    const path = image.toString('latin1', start + (end - start > 129 ? 3 : 2), end)
    if (bytes.length > (longest.get(path)?.length ?? 0)) longest.set(path, bytes)
  }
  return new Map([...longest].map(([path, bytes]) => [path, fromBinary(FileDescriptorProtoSchema, bytes)]))
}

/** Where the message begins whose field `name` ends at `end`; -1 = these bytes are none. */
function startOfFile(image: Buffer, end: number): number {
  for (let from = end - 1; from > end - 255 && NAME_BYTE.test(String.fromCharCode(image[from]!)); from--) {
    const length = end - from
    const tag = from - (length < 128 ? 2 : 3)
    if (image[tag] !== ((NAME << 3) | LENGTH_DELIMITED)) continue
    const [value, next] = varint(image, tag + 1)
    if (value === length && next === from && endOfFile(image, tag) > end) return tag
  }
  return -1
}

/** Behind the last field of the message at `start`; -1 = it does not end with `syntax`. */
function endOfFile(image: Buffer, start: number): number {
  let last = 0
  for (let at = start; at < image.length; ) {
    const [tag, value] = varint(image, at)
    const field = tag >> 3
    if (field < last || field > SYNTAX || (tag & 7) !== LENGTH_DELIMITED) return -1
    const [length, bytes] = varint(image, value)
    at = bytes + length
    last = field
    if (field === SYNTAX) return at
  }
  return -1
}

function varint(image: Buffer, at: number): [value: number, next: number] {
  let value = 0
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = image[at++] ?? 0
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) return [value, at]
  }
  return [-1, at]
}
