// The one route of an inbound chain: everything to the workload.
import { create } from '@bufbuild/protobuf'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { MeshConfig } from '../../config/index.ts'
import { durationOf } from '../xds/messages.ts'
import { inboundRetryPolicy } from './retry.ts'

export interface InboundRoute {
  readonly mesh: MeshConfig
  /** Also the name of the route configuration. */
  readonly cluster: string
  /** Service port; 0 for ports of no service. */
  readonly port: number
  readonly host: string
  readonly grpc: boolean
}

const ZERO = durationOf(0)

export function inboundRouteConfiguration(route: InboundRoute): RouteConfiguration {
  return create(RouteConfigurationSchema, {
    name: route.cluster,
    validateClusters: false,
    virtualHosts: [
      {
        name: `inbound|http|${route.port}`,
        domains: ['*'],
        routes: [
          {
            name: 'default',
            match: { pathSpecifier: { case: 'prefix', value: '/' } },
            decorator: { operation: `${route.host}:${route.port}/*` },
            action: {
              case: 'route',
              value: {
                clusterSpecifier: { case: 'cluster', value: route.cluster },
                timeout: ZERO,
                maxStreamDuration: { maxStreamDuration: ZERO, grpcTimeoutHeaderMax: ZERO },
                retryPolicy: route.grpc ? undefined : inboundRetryPolicy(route.mesh),
              },
            },
          },
        ],
      },
    ],
  })
}
