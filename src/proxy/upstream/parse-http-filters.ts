// Upstream HTTP filters: `http_filters` of a cluster, `upstream_http_filters` of the router. The last one is the codec, which
// is there whether it is listed or not.

import { UpstreamCodecSchema } from '../../api/gen/envoy/extensions/filters/http/upstream_codec/v3/upstream_codec_pb.js'
import type { HttpFilter } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import type { UpstreamHttpFilterData } from './config.ts'

/** Those ahead of the codec. Throws ConfigError for a filter that is none of upstream requests, or an order without an end. */
export function parseUpstreamHttpFilters(
  filters: readonly HttpFilter[],
  context: ParseContext,
  field: string,
): UpstreamHttpFilterData[] {
  const parsed = filters.map(({ name, configType, disabled }, i) => {
    const at = context.at(`${field}[${i}]`)
    if (configType.case === 'configDiscovery')
      throw new ConfigError(
        at.at('config_discovery').path,
        'upstream HTTP filters by discovery are not supported by this proxy; give their typed_config',
      )
    return { name, filter: at.at('typed_config').parseAny('upstream_http_filter', configType.value, name), disabled }
  })
  if (parsed.length === 0) return []
  const codec = parsed.findIndex(({ filter }) => filter.typeUrl === UpstreamCodecSchema.typeName)
  if (codec < 0)
    throw new ConfigError(
      context.at(field).path,
      `the last filter must be terminal (envoy.filters.http.upstream_codec), not ${parsed.at(-1)!.name}`,
    )
  if (codec !== parsed.length - 1)
    throw new ConfigError(context.at(`${field}[${codec}]`).path, 'a terminal filter must be the last one')
  return parsed.slice(0, -1)
}
