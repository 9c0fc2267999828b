// Encoded resources shared by all proxies whose inputs are equal.
import { hash } from 'node:crypto'
import { create, type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { BinaryWriter } from '@bufbuild/protobuf/wire'
import { type VirtualHost, VirtualHostSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { EncodedResource } from '../../xds/server-types.ts'

/** Encodes a message; its version is a digest of the bytes, so that equal content is never sent twice. */
export function encodeResource<D extends DescMessage>(
  schema: D,
  name: string,
  message: MessageShape<D>,
): EncodedResource {
  const body = toBinary(schema, message)
  return { name, version: hash('sha1', body, 'base64url'), body }
}

const VIRTUAL_HOSTS_TAG = (2 << 3) | 2
const virtualHostBytes = new WeakMap<VirtualHost, Uint8Array>()

/**
 * Encodes a route configuration around virtual hosts whose bytes are kept: generators hand out the same message for a
 * virtual host as long as nothing about it changes. (Repeated fields may follow all others: RouteConfiguration
 * virtual_hosts = 2.)
 */
export function encodeRouteConfiguration(config: RouteConfiguration): EncodedResource {
  const head = toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, { ...config, virtualHosts: [] }))
  const parts: Uint8Array[] = [head]
  for (const host of config.virtualHosts) {
    let bytes = virtualHostBytes.get(host)
    if (!bytes) {
      const writer = new BinaryWriter()
      bytes = writer.uint32(VIRTUAL_HOSTS_TAG).bytes(toBinary(VirtualHostSchema, host)).finish()
      virtualHostBytes.set(host, bytes)
    }
    parts.push(bytes)
  }
  const body = Buffer.concat(parts)
  return { name: config.name, version: hash('sha1', body, 'base64url'), body }
}

/**
 * A cache whose keys name every input of what they stand for, so nothing in it is ever invalid, only unused. Bounded:
 * when the young half is full it becomes the old half, and what the old half held unused is gone.
 */
export class EncodedCache<V> {
  private young = new Map<string, V>()
  private old = new Map<string, V>()
  private readonly half: number
  hits = 0
  misses = 0
  evictions = 0

  constructor(capacity: number) {
    this.half = Math.max(1, capacity >> 1)
  }

  /** The value for `key`, made by `make` when it is not there. */
  get(key: string, make: () => V): V {
    let value = this.young.get(key)
    if (value !== undefined) {
      this.hits++
      return value
    }
    value = this.old.get(key)
    if (value === undefined) {
      this.misses++
      value = make()
    } else {
      this.hits++
      this.old.delete(key)
    }
    if (this.young.size >= this.half) {
      this.evictions += this.old.size
      this.old = this.young
      this.young = new Map()
    }
    this.young.set(key, value)
    return value
  }

  /** Forgets every value; the counts stay. */
  clear(): void {
    this.young = new Map()
    this.old = new Map()
  }

  /** Every value, in no order that means anything. */
  *values(): Generator<V> {
    yield* this.old.values()
    yield* this.young.values()
  }

  get size(): number {
    return this.young.size + this.old.size
  }
}
