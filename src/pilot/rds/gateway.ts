import { create } from '@bufbuild/protobuf'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'

export function gatewayRouteConfiguration(name: string, _proxy: ProxyNode, _push: PushContext): RouteConfiguration {
  return create(RouteConfigurationSchema, { name })
}
