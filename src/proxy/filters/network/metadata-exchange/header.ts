// The bytes that two Istio proxies send first on an `istio-peer-exchange` connection (envoy-contract §11.2). Pure.

import { create, fromBinary, type JsonObject, toBinary, toJson } from '@bufbuild/protobuf'
import { AnySchema, anyPack, anyUnpack, StructSchema, ValueSchema } from '@bufbuild/protobuf/wkt'
import {
  PEER_METADATA_HEADER,
  PEER_METADATA_ID_HEADER,
  type PeerMetadata,
  peerFromFields,
} from '../../common/peer-metadata.ts'

const MAGIC = 0x3d230467
const HEADER_BYTES = 8
/** Istio's own limit of what it believes: a peer's length beyond it is garbage. */
const MAX_DATA_BYTES = 1024 * 1024

/** Magic, length, Any(Struct{ metadata, id }). */
export function encodeExchange(encodedPeer: Uint8Array, id: string): Buffer {
  const metadata = fromBinary(StructSchema, encodedPeer)
  const struct = create(StructSchema, {
    fields: {
      [PEER_METADATA_HEADER]: create(ValueSchema, { kind: { case: 'structValue', value: metadata } }),
      [PEER_METADATA_ID_HEADER]: create(ValueSchema, { kind: { case: 'stringValue', value: id } }),
    },
  })
  const data = toBinary(AnySchema, anyPack(StructSchema, struct))
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt32BE(MAGIC, 0)
  header.writeUInt32BE(data.length, 4)
  return Buffer.concat([header, data])
}

export type ExchangeResult =
  | { readonly kind: 'need-more' }
  /** The peer sends something else; the bytes are its own. */
  | { readonly kind: 'absent' }
  /** `peer` is null for what does not decode. */
  | { readonly kind: 'found'; readonly length: number; readonly peer: PeerMetadata | null }

/** Looks at the first bytes that came. */
export function decodeExchange(bytes: Buffer): ExchangeResult {
  if (bytes.length < HEADER_BYTES) return { kind: 'need-more' }
  if (bytes.readUInt32BE(0) !== MAGIC) return { kind: 'absent' }
  const size = bytes.readUInt32BE(4)
  if (size > MAX_DATA_BYTES) return { kind: 'absent' }
  const length = HEADER_BYTES + size
  if (bytes.length < length) return { kind: 'need-more' }
  return { kind: 'found', length, peer: readPeer(bytes.subarray(HEADER_BYTES, length)) }
}

function readPeer(data: Buffer): PeerMetadata | null {
  try {
    const value = anyUnpack(fromBinary(AnySchema, data), StructSchema)?.fields[PEER_METADATA_HEADER]?.kind
    return value?.case === 'structValue' ? peerFromFields(toJson(StructSchema, value.value) as JsonObject) : null
  } catch {
    return null // a peer's mistake: it stays unknown
  }
}
