// envoy.filters.http.grpc_stats: configuration.

import {
  type FilterConfig,
  FilterConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.js'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { createGrpcStatsFilter } from './filter.ts'

export interface GrpcStatsConfig {
  readonly emitFilterState: boolean
  /** Count each method; else only those listed, all others together. */
  readonly allMethods: boolean
  /** Paths `/service/method`. */
  readonly listed: readonly string[]
  readonly upstreamStats: boolean
  readonly replaceDots: boolean
}

export const grpcStatsFilter: HttpFilterExtension<GrpcStatsConfig> = {
  name: 'envoy.filters.http.grpc_stats',
  desc: FilterConfigSchema,
  parse: (message) => {
    const config = message as FilterConfig
    const specifier = config.perMethodStatSpecifier
    return {
      emitFilterState: config.emitFilterState,
      allMethods: specifier.case === 'statsForAllMethods' && specifier.value.value,
      listed:
        specifier.case === 'individualMethodStatsAllowlist'
          ? specifier.value.services.flatMap((service) =>
              service.methodNames.map((method) => `/${service.name}/${method}`),
            )
          : [],
      upstreamStats: config.enableUpstreamStats,
      replaceDots: config.replaceDotsInGrpcServiceName,
    }
  },
  create: createGrpcStatsFilter,
}
