// Writes discovery responses around bodies that are encoded already: the body bytes are copied once, never re-encoded.
import type { EncodedResource } from './server-types.ts'

export interface ResponseHead {
  readonly version: string
  readonly typeUrl: string
  readonly nonce: string
  /** ControlPlane.identifier; empty leaves the message out. */
  readonly controlPlane: string
}

const LENGTH_DELIMITED = 2

function varintSize(value: number): number {
  let size = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++
  return size
}

/** Size of a field of `length` bytes; every field number here is below 16, so its tag is one byte. */
function fieldSize(length: number): number {
  return 1 + varintSize(length) + length
}

function stringSize(text: string): number {
  return text === '' ? 0 : fieldSize(Buffer.byteLength(text))
}

class Writer {
  readonly buffer: Buffer
  #at = 0
  constructor(size: number) {
    this.buffer = Buffer.allocUnsafe(size)
  }
  head(field: number, length: number): void {
    this.buffer[this.#at++] = (field << 3) | LENGTH_DELIMITED
    let rest = length
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.buffer[this.#at++] = (rest % 0x80) | 0x80
    this.buffer[this.#at++] = rest
  }
  string(field: number, text: string): void {
    if (text === '') return
    this.head(field, Buffer.byteLength(text))
    this.#at += this.buffer.write(text, this.#at)
  }
  raw(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.#at)
    this.#at += bytes.length
  }
  bytes(field: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.head(field, bytes.length)
    this.buffer.set(bytes, this.#at)
    this.#at += bytes.length
  }
}

/** google.protobuf.Any: type_url = 1, value = 2. */
function anySize(typeUrl: string, body: Uint8Array): number {
  return stringSize(typeUrl) + (body.length === 0 ? 0 : fieldSize(body.length))
}

function writeAny(writer: Writer, field: number, typeUrl: string, body: Uint8Array): void {
  writer.head(field, anySize(typeUrl, body))
  writer.string(1, typeUrl)
  writer.bytes(2, body)
}

/** ControlPlane: identifier = 1. */
function controlPlaneSize(identifier: string): number {
  return identifier === '' ? 0 : fieldSize(stringSize(identifier))
}

function writeControlPlane(writer: Writer, field: number, identifier: string): void {
  if (identifier === '') return
  writer.head(field, stringSize(identifier))
  writer.string(1, identifier)
}

/** envoy.service.discovery.v3.DiscoveryResponse: version_info 1, resources 2, type_url 4, nonce 5, control_plane 6. */
export function encodeDiscoveryResponse(head: ResponseHead, resources: readonly EncodedResource[]): Buffer {
  let size =
    stringSize(head.version) + stringSize(head.typeUrl) + stringSize(head.nonce) + controlPlaneSize(head.controlPlane)
  for (const resource of resources) size += fieldSize(anySize(head.typeUrl, resource.body))
  const writer = new Writer(size)
  writer.string(1, head.version)
  for (const resource of resources) writeAny(writer, 2, head.typeUrl, resource.body)
  writer.string(4, head.typeUrl)
  writer.string(5, head.nonce)
  writeControlPlane(writer, 6, head.controlPlane)
  return writer.buffer
}

/** envoy.service.discovery.v3.Resource: version 1, resource 2, name 3. */
function resourceSize(typeUrl: string, resource: EncodedResource): number {
  return stringSize(resource.version) + fieldSize(anySize(typeUrl, resource.body)) + stringSize(resource.name)
}

/** Resources up to this size keep their framed form: one resource goes to many connections. */
const FRAME_CACHE_BYTES = 16 * 1024
const frames = new WeakMap<EncodedResource, Buffer>()

function writeResource(writer: Writer, typeUrl: string, resource: EncodedResource): void {
  writer.head(2, resourceSize(typeUrl, resource))
  writer.string(1, resource.version)
  writeAny(writer, 2, typeUrl, resource.body)
  writer.string(3, resource.name)
}

/** A resource as field 2 of a delta response; null for one that is too large to be kept twice. */
function frameOf(typeUrl: string, resource: EncodedResource): Buffer | null {
  if (resource.body.length > FRAME_CACHE_BYTES) return null
  let frame = frames.get(resource)
  if (frame === undefined) {
    const writer = new Writer(fieldSize(resourceSize(typeUrl, resource)))
    writeResource(writer, typeUrl, resource)
    frame = writer.buffer
    frames.set(resource, frame)
  }
  return frame
}

/** DeltaDiscoveryResponse: system_version_info 1, resources 2, type_url 4, nonce 5, removed_resources 6, control_plane 7. */
export function encodeDeltaDiscoveryResponse(
  head: ResponseHead,
  resources: readonly EncodedResource[],
  removed: readonly string[],
): Buffer {
  let size =
    stringSize(head.version) + stringSize(head.typeUrl) + stringSize(head.nonce) + controlPlaneSize(head.controlPlane)
  for (const resource of resources) {
    size += frameOf(head.typeUrl, resource)?.length ?? fieldSize(resourceSize(head.typeUrl, resource))
  }
  for (const name of removed) size += fieldSize(Buffer.byteLength(name))
  const writer = new Writer(size)
  writer.string(1, head.version)
  for (const resource of resources) {
    const frame = frameOf(head.typeUrl, resource)
    if (frame === null) writeResource(writer, head.typeUrl, resource)
    else writer.raw(frame)
  }
  writer.string(4, head.typeUrl)
  writer.string(5, head.nonce)
  for (const name of removed) writer.string(6, name)
  writeControlPlane(writer, 7, head.controlPlane)
  return writer.buffer
}
