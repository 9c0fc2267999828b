// envoy.type.metadata.v3.MetadataKey: where in a namespace of metadata a value lies.

import type { MetadataKey } from '../../api/gen/envoy/type/metadata/v3/metadata_pb.js'

/** Names of the fields on the way to the value; positions in lists are refused (refused-fields.ts). */
export function metadataPath({ path }: Pick<MetadataKey, 'path'>): string[] {
  return path.map(({ segment }) => (segment.case === 'key' ? segment.value : ''))
}
