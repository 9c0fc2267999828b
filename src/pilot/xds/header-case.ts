import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { PreserveCaseFormatterConfigSchema } from '../../api/gen/envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case_pb.js'

/** HTTP/1 header names keep the case they came with: ProxyConfig.proxyHeaders.preserveHttp1HeaderCase. */
export const PRESERVE_CASE = {
  headerFormat: {
    case: 'statefulFormatter' as const,
    value: {
      name: 'preserve_case',
      typedConfig: anyPack(PreserveCaseFormatterConfigSchema, create(PreserveCaseFormatterConfigSchema)),
    },
  },
}
