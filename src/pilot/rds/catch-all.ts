// The virtual host of a sidecar's last resort: requests to hosts that nobody knows.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type VirtualHost, VirtualHostSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { ProxyConfig } from '../../config/index.ts'
import type { SidecarScope } from '../model/sidecar-scope.ts'
import { durationOf } from '../xds/messages.ts'
import { ANY_DYNAMIC_DNS_CLUSTER, outboundClusterName, PASSTHROUGH_CLUSTER } from '../xds/names.ts'

const ZERO = durationOf(0)
/** Direct responses of any length that Envoy may hold. */
export const MAX_DIRECT_RESPONSE_BYTES = 1024 * 1024

/** `block_all`, `allow_any` or `allow_any_dynamic_dns`, as the outbound traffic policy says. */
export function catchAll(scope: SidecarScope, { proxyHeaders }: Pick<ProxyConfig, 'proxyHeaders'>): VirtualHost {
  const { mode, egressProxy } = scope.outboundTrafficPolicy
  if (mode === 'REGISTRY_ONLY') return virtualHost('block_all', { case: 'directResponse', value: { status: 502 } })
  const dynamicDns = mode === 'ALLOW_ANY_DYNAMIC_DNS'
  const cluster = dynamicDns
    ? ANY_DYNAMIC_DNS_CLUSTER
    : egressProxy
      ? outboundClusterName(egressProxy.port, egressProxy.subset, egressProxy.host)
      : PASSTHROUGH_CLUSTER
  return virtualHost(dynamicDns ? 'allow_any_dynamic_dns' : 'allow_any', {
    case: 'route',
    value: {
      clusterSpecifier: { case: 'cluster', value: cluster },
      timeout: ZERO,
      maxGrpcTimeout: ZERO,
      appendXForwardedHost: proxyHeaders?.xForwardedHost?.enabled === true,
    },
  })
}

/** The routes of plaintext HTTP on ports of no service, which stand in the listener itself. */
export function anyHostRoutes(scope: SidecarScope, proxyConfig: ProxyConfig): RouteConfiguration {
  const host = catchAll(scope, proxyConfig)
  host.includeRequestAttemptCount = proxyConfig.proxyHeaders?.attemptCount?.disabled !== true
  return create(RouteConfigurationSchema, {
    name: host.name,
    validateClusters: false,
    maxDirectResponseBodySizeBytes: MAX_DIRECT_RESPONSE_BYTES,
    ignorePortInHostMatching: true,
    virtualHosts: [host],
  })
}

type Action = NonNullable<Exclude<MessageInitShape<typeof VirtualHostSchema>, VirtualHost>['routes']>[number]['action']

function virtualHost(name: string, action: Action): VirtualHost {
  return create(VirtualHostSchema, {
    name,
    domains: ['*'],
    includeRequestAttemptCount: true,
    routes: [{ name, match: { pathSpecifier: { case: 'prefix', value: '/' } }, action }],
  })
}
