// istio.alpn: configuration (envoy-contract §11.3).

import { type FilterConfig, FilterConfig_Protocol, FilterConfigSchema } from '../../../../api/gen/istio/alpn_pb.js'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { createAlpnFilter } from './filter.ts'

/** Protocols to offer upstream, by the HTTP version that the request will use there; null = as configured. */
export interface AlpnConfig {
  readonly http10: readonly string[] | null
  readonly http11: readonly string[] | null
  readonly http2: readonly string[] | null
}

export const alpnFilter: HttpFilterExtension<AlpnConfig> = {
  name: 'istio.alpn',
  desc: FilterConfigSchema,
  parse: (message) => {
    const { alpnOverride } = message as FilterConfig
    const listOf = (protocol: FilterConfig_Protocol): readonly string[] | null => {
      const list = alpnOverride.find((entry) => entry.upstreamProtocol === protocol)?.alpnOverride ?? []
      return list.length > 0 ? list : null
    }
    return {
      http10: listOf(FilterConfig_Protocol.HTTP10),
      http11: listOf(FilterConfig_Protocol.HTTP11),
      http2: listOf(FilterConfig_Protocol.HTTP2),
    }
  },
  create: createAlpnFilter,
}
