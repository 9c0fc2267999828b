// Security filters of one workload's inbound chains: RequestAuthentication and AuthorizationPolicy.
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type HttpSecurityFilters, NO_SECURITY } from '../lds/filters.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'

export function httpSecurity(_push: PushContext, _proxy: ProxyNode): HttpSecurityFilters {
  return NO_SECURITY
}

export function networkSecurity(_push: PushContext, _proxy: ProxyNode): readonly Filter[] {
  return []
}
