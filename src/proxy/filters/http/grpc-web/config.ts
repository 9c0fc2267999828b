// envoy.filters.http.grpc_web: there is nothing to configure.

import { GrpcWebSchema } from '../../../../api/gen/envoy/extensions/filters/http/grpc_web/v3/grpc_web_pb.js'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { createGrpcWebFilter } from './filter.ts'

export const grpcWebFilter: HttpFilterExtension<null> = {
  name: 'envoy.filters.http.grpc_web',
  desc: GrpcWebSchema,
  parse: () => null,
  create: createGrpcWebFilter,
}
