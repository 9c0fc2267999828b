// Discovery responses to plain (name, version, body) triples, for both protocol variants.
import { fromBinary } from '@bufbuild/protobuf'
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import type { Any } from '@bufbuild/protobuf/wkt'
import {
  type DeltaDiscoveryResponse,
  type DiscoveryResponse,
  type Resource,
  ResourceSchema,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { errorText, fail, ok, type Result } from '../base/errors.ts'

const RESOURCE_TYPE = 'type.googleapis.com/envoy.service.discovery.v3.Resource'

/** One resource as it arrived. */
export interface ReceivedResource {
  readonly name: string
  readonly version: string
  /** Binary form of the message itself; a view into the response. */
  readonly body: Uint8Array
  /** The resource lives this long unless it is sent or confirmed again; 0 = for ever. */
  readonly ttlMs: number
  /** Confirms a known resource and restarts its TTL; `body` is empty and nothing has changed. */
  readonly heartbeat: boolean
}

/** Reads a delta response. `known`: names and versions accepted so far, which a heartbeat refers to. */
export function unpackDelta(
  response: DeltaDiscoveryResponse,
  known: ReadonlyMap<string, string>,
): Result<ReceivedResource[]> {
  const seen = new Map<string, ReceivedResource>()
  for (const resource of response.resources) {
    const read = unpackResource(resource, response.typeUrl, known)
    if (!read.ok) return read
    if (read.value === null) continue
    if (seen.has(read.value.name)) return fail(read.value.name, 'duplicate resource name in one response')
    seen.set(read.value.name, read.value)
  }
  return ok([...seen.values()])
}

/** Reads a state-of-the-world response; a resource there may be bare or wrapped in a Resource message (for its TTL). */
export function unpackSotw(
  response: DiscoveryResponse,
  known: ReadonlyMap<string, string>,
): Result<ReceivedResource[]> {
  const seen = new Map<string, ReceivedResource>()
  for (const any of response.resources) {
    const read = unpackAny(any, response, known)
    if (!read.ok) return read
    if (read.value === null) continue
    if (seen.has(read.value.name)) return fail(read.value.name, 'duplicate resource name in one response')
    seen.set(read.value.name, read.value)
  }
  return ok([...seen.values()])
}

function unpackAny(
  any: Any,
  response: DiscoveryResponse,
  known: ReadonlyMap<string, string>,
): Result<ReceivedResource | null> {
  if (any.typeUrl === RESOURCE_TYPE) {
    let resource: Resource
    try {
      resource = fromBinary(ResourceSchema, any.value)
    } catch (error) {
      return fail('resources', `unreadable Resource message: ${errorText(error)}`)
    }
    return unpackResource(resource, response.typeUrl, known)
  }
  if (any.typeUrl !== response.typeUrl) return wrongType(any.typeUrl, response.typeUrl)
  const name = resourceName(any.value)
  if (name === null) return fail('resources', 'a resource has no readable name')
  return ok({ name, version: response.versionInfo, body: any.value, ttlMs: 0, heartbeat: false })
}

function unpackResource(
  resource: Resource,
  typeUrl: string,
  known: ReadonlyMap<string, string>,
): Result<ReceivedResource | null> {
  const name =
    resource.name !== '' || resource.resource === undefined ? resource.name : resourceName(resource.resource.value)
  if (name === null || name === '') return fail('resources', 'a resource has no readable name')
  const { version, ttl } = resource
  const ttlMs = ttl === undefined ? 0 : Number(ttl.seconds) * 1000 + Math.ceil(ttl.nanos / 1e6)
  if (resource.resource === undefined) {
    // Without a body it confirms what is known; a name that is unknown then has nothing to confirm.
    return known.has(name) ? ok({ name, version, body: new Uint8Array(), ttlMs, heartbeat: true }) : ok(null)
  }
  if (resource.resource.typeUrl !== typeUrl) return wrongType(resource.resource.typeUrl, typeUrl)
  return ok({ name, version, body: resource.resource.value, ttlMs, heartbeat: false })
}

function wrongType(found: string, wanted: string): Result<never> {
  return fail('resources', `type URL ${found} does not match the response's ${wanted}`)
}

/** Every xDS resource type carries its name as field 1, a string (ClusterLoadAssignment calls it cluster_name). Null when it cannot be read. */
function resourceName(body: Uint8Array): string | null {
  try {
    const reader = new BinaryReader(body)
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag()
      if (field === 1 && wireType === WireType.LengthDelimited) return reader.string()
      reader.skip(wireType, field)
    }
    return null
  } catch {
    // Malformed bytes: the caller refuses the response.
    return null
  }
}
