// Which secret is meant: one name may be asked for at several sources, and these are secrets of their own (as in Envoy).

import { create, toBinary } from '@bufbuild/protobuf'
import { type ConfigSource, ConfigSourceSchema } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { xxh64Bytes } from '../../base/hash.ts'

/** No name of a secret that somebody serves contains it. */
const SEPARATOR = '\n'

/** The name and who delivers it; the name alone for a static secret (`source` undefined). */
export function secretKey(name: string, source: ConfigSource | undefined): string {
  if (source === undefined) return name
  const { configSourceSpecifier } = source
  if (configSourceSpecifier.case === 'ads') return name + SEPARATOR
  // How long somebody waits for the first answer does not make another source.
  const bytes = toBinary(ConfigSourceSchema, create(ConfigSourceSchema, { configSourceSpecifier }))
  return name + SEPARATOR + xxh64Bytes(Buffer.from(bytes).toString('latin1')).toString(16)
}

/** The key of what ADS calls `name`. */
export function adsSecretKey(name: string): string {
  return name + SEPARATOR
}

/** The name in a key. */
export function secretName(key: string): string {
  const end = key.lastIndexOf(SEPARATOR)
  return end < 0 ? key : key.slice(0, end)
}
