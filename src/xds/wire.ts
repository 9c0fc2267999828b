// Writes the parts of discovery responses around bodies that are encoded already. Fields of a message may stand in any
// order, so the resources come first: they are the same for many connections, what follows them is not.
import type { EncodedResource, OneTimeAnswer } from './server-types.ts'

/** What a response says beside its resources. */
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
  get written(): number {
    return this.#at
  }
  string(field: number, text: string): void {
    if (text === '') return
    this.head(field, Buffer.byteLength(text))
    this.#at += this.buffer.write(text, this.#at)
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

/** envoy.service.discovery.v3.Resource: version 1, resource 2, name 3. */
function resourceSize(typeUrl: string, resource: EncodedResource): number {
  return stringSize(resource.version) + fieldSize(anySize(typeUrl, resource.body)) + stringSize(resource.name)
}

/** Bytes of {@link encodeResources}. */
export function resourcesSize(typeUrl: string, resources: readonly EncodedResource[], delta: boolean): number {
  let size = 0
  for (const resource of resources) {
    size += fieldSize(delta ? resourceSize(typeUrl, resource) : anySize(typeUrl, resource.body))
  }
  return size
}

/** The field `resources` (2) of a response, and where each resource ends in it. */
export function encodeResources(
  typeUrl: string,
  resources: readonly EncodedResource[],
  delta: boolean,
): { readonly bytes: Buffer; readonly ends: readonly number[] } {
  const writer = new Writer(resourcesSize(typeUrl, resources, delta))
  const ends: number[] = []
  for (const resource of resources) {
    if (delta) {
      writer.head(2, resourceSize(typeUrl, resource))
      writer.string(1, resource.version)
      writeAny(writer, 2, typeUrl, resource.body)
      writer.string(3, resource.name)
    } else writeAny(writer, 2, typeUrl, resource.body)
    ends.push(writer.written)
  }
  return { bytes: writer.buffer, ends }
}

/**
 * Every other field. DiscoveryResponse: version_info 1, type_url 4, nonce 5, control_plane 6. DeltaDiscoveryResponse:
 * system_version_info 1, type_url 4, nonce 5, removed_resources 6, control_plane 7.
 */
export function encodeRest(head: ResponseHead, removed: readonly string[], delta: boolean): Buffer {
  let size =
    stringSize(head.version) + stringSize(head.typeUrl) + stringSize(head.nonce) + controlPlaneSize(head.controlPlane)
  if (delta) for (const name of removed) size += fieldSize(Buffer.byteLength(name))
  const writer = new Writer(size)
  writer.string(1, head.version)
  writer.string(4, head.typeUrl)
  writer.string(5, head.nonce)
  if (delta) for (const name of removed) writer.string(6, name)
  writeControlPlane(writer, delta ? 7 : 6, head.controlPlane)
  return writer.buffer
}

/** A response whose resources may each be of another type, in pieces. */
export function encodeOneTimeAnswer(
  head: ResponseHead,
  resources: OneTimeAnswer['resources'],
  delta: boolean,
): readonly Buffer[] {
  const pieces = resources.map(({ name, typeUrl, body }) => {
    return encodeResources(typeUrl, [{ name, version: '', body }], delta).bytes
  })
  return [...pieces, encodeRest(head, [], delta)]
}
