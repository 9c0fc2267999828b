import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromBinary } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { findUnknownField } from './unknown-fields.ts'

test('the first unknown field is named with its path, at any depth', () => {
  const chain = new BinaryWriter().tag(15000, WireType.Varint).uint32(1).finish()
  const known = new BinaryWriter().tag(1, WireType.LengthDelimited).string('name').finish()
  const bytes = new BinaryWriter().tag(3, WireType.LengthDelimited).bytes(chain).finish()
  const listener = fromBinary(ListenerSchema, Buffer.concat([known, bytes]))
  assert.equal(findUnknownField(ListenerSchema, listener), 'filter_chains[0].field 15000')
  assert.equal(findUnknownField(ListenerSchema, fromBinary(ListenerSchema, known)), null)
})
