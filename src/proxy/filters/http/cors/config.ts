// envoy.filters.http.cors: configuration. The filter's own message is empty; policies come from routes.

import {
  type CorsPolicy,
  CorsPolicySchema,
  CorsSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { CORS_FILTER, type CorsPolicyData, parseCorsPolicy } from '../../../route/cors-policy.ts'
import { createCorsFilter } from './filter.ts'

export const corsFilter: HttpFilterExtension<null, CorsPolicyData> = {
  name: CORS_FILTER,
  desc: CorsSchema,
  parse: () => null,
  routeDesc: CorsPolicySchema,
  parseRoute: (message, context) => parseCorsPolicy(message as CorsPolicy, context),
  create: createCorsFilter,
}
