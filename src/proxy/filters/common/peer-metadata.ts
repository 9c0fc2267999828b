// Who the other end of a mesh connection is: what Istio's sidecars tell each other in headers (HTTP) or in the first
// bytes (TCP), as a protobuf Struct (envoy-contract §11.2).

import { fromBinary, fromJson, type JsonObject, toBinary, toJson } from '@bufbuild/protobuf'
import { StructSchema } from '@bufbuild/protobuf/wkt'
import type { NodeInfo } from '../../config/extension.ts'

/** HTTP headers, and keys of the TCP exchange. */
export const PEER_METADATA_HEADER = 'x-envoy-peer-metadata'
export const PEER_METADATA_ID_HEADER = 'x-envoy-peer-metadata-id'
/** Filter state keys under which the peers are left for access logs and metrics. */
export const DOWNSTREAM_PEER = 'downstream_peer'
export const UPSTREAM_PEER = 'upstream_peer'

/** '' = not told. */
export interface PeerMetadata {
  readonly name: string
  readonly namespace: string
  readonly workload: string
  readonly cluster: string
  readonly identity: string
  /** deployment, job, cronjob, pod, … */
  readonly type: string
  readonly service: string
  readonly revision: string
  readonly app: string
  readonly version: string
  readonly region: string
  readonly zone: string
}

const LABEL_NAME = 'service.istio.io/canonical-name'
const LABEL_REVISION = 'service.istio.io/canonical-revision'

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function object(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

/** `kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1` → `deployment`. */
function typeOfOwner(owner: string): string {
  const segments = owner.split('/')
  return segments.at(-2)?.replace(/s$/, '') ?? ''
}

/** From node metadata, or from what a peer sent: both have the same keys. */
export function peerFromFields(fields: Readonly<Record<string, unknown>>): PeerMetadata {
  const labels = object(fields.LABELS)
  const app = text(labels.app)
  const workload = text(fields.WORKLOAD_NAME)
  return {
    name: text(fields.NAME),
    namespace: text(fields.NAMESPACE),
    workload,
    cluster: text(fields.CLUSTER_ID),
    identity: text(fields.IDENTITY) || text(fields.SERVICE_ACCOUNT),
    type: typeOfOwner(text(fields.OWNER)),
    service: text(labels[LABEL_NAME]) || app || workload,
    revision: text(labels[LABEL_REVISION]) || text(labels.version),
    app,
    version: text(labels.version),
    region: text(fields.REGION),
    zone: text(fields.AVAILABILITY_ZONE),
  }
}

/** This proxy as its peers are to see it. */
export function ownPeer(node: NodeInfo): PeerMetadata {
  return peerFromFields(node.metadata)
}

/** Keys sorted, so that equal peers are equal bytes; absent ones left out. */
function fieldsOf(values: Readonly<Record<string, string | JsonObject>>): JsonObject {
  const set = Object.entries(values).filter(([, value]) => value !== '' && Object.keys(value).length > 0)
  return Object.fromEntries(set.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The Struct that is sent. */
export function encodePeer(peer: PeerMetadata): Uint8Array {
  const owned = peer.type !== '' && peer.workload !== ''
  const fields = fieldsOf({
    NAME: peer.name,
    NAMESPACE: peer.namespace,
    WORKLOAD_NAME: peer.workload,
    CLUSTER_ID: peer.cluster,
    IDENTITY: peer.identity,
    REGION: peer.region,
    AVAILABILITY_ZONE: peer.zone,
    OWNER: owned ? `kubernetes://apis/apps/v1/namespaces/${peer.namespace}/${peer.type}s/${peer.workload}` : '',
    LABELS: fieldsOf({
      [LABEL_NAME]: peer.service,
      [LABEL_REVISION]: peer.revision,
      app: peer.app,
      version: peer.version,
    }),
  })
  return toBinary(StructSchema, fromJson(StructSchema, fields))
}

/** null when the bytes are no Struct. */
export function decodePeer(bytes: Uint8Array): PeerMetadata | null {
  try {
    return peerFromFields(toJson(StructSchema, fromBinary(StructSchema, bytes)) as Record<string, unknown>)
  } catch {
    // Garbage from a peer: it stays unknown.
    return null
  }
}
