// Consistent hashing: what of a request a DestinationRule hashes.
import { create } from '@bufbuild/protobuf'
import {
  type RouteAction_HashPolicy,
  RouteAction_HashPolicySchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { ConsistentHash, TrafficPolicy } from '../../config/index.ts'
import type { Service } from '../model/service.ts'
import type { SidecarScope } from '../model/sidecar-scope.ts'
import { durationOf } from '../xds/messages.ts'

/**
 * The hash policy for one port and subset of a service, or null. Port 0: the route names none, so that settings of a port
 * do not count.
 */
export function hashPolicyFor(
  scope: SidecarScope,
  service: Service | undefined,
  port: number,
  subset: string,
  labels: Readonly<Record<string, string>>,
): RouteAction_HashPolicy | null {
  if (!service) return null
  const spec = scope.destinationRule(service, labels)?.rule.spec
  if (!spec) return null
  const own = spec.subsets?.find((s) => s.name === subset)?.trafficPolicy
  // As in Istio, a subset or port with another load balancer still gets the hash policy of the whole rule.
  const hash = hashOf(own, port) ?? hashOf(spec.trafficPolicy, port)
  return hash ? hashPolicy(hash) : null
}

function hashOf(policy: TrafficPolicy | undefined, port: number): ConsistentHash | undefined {
  const atPort = policy?.portLevelSettings?.find((setting) => setting.port?.number === port)
  return atPort?.loadBalancer?.consistentHash ?? policy?.loadBalancer?.consistentHash
}

function hashPolicy(hash: ConsistentHash): RouteAction_HashPolicy | null {
  if (hash.httpHeaderName) {
    return create(RouteAction_HashPolicySchema, {
      policySpecifier: { case: 'header', value: { headerName: hash.httpHeaderName } },
    })
  }
  if (hash.httpCookie) {
    const { name, path, ttl, attributes } = hash.httpCookie
    return create(RouteAction_HashPolicySchema, {
      policySpecifier: {
        case: 'cookie',
        value: {
          name,
          path,
          ttl: ttl === undefined ? undefined : durationOf(ttl),
          attributes: attributes?.map((attribute) => ({ name: attribute.name, value: attribute.value ?? '' })),
        },
      },
    })
  }
  if (hash.useSourceIp) {
    return create(RouteAction_HashPolicySchema, {
      policySpecifier: { case: 'connectionProperties', value: { sourceIp: true } },
    })
  }
  if (hash.httpQueryParameterName) {
    return create(RouteAction_HashPolicySchema, {
      policySpecifier: { case: 'queryParameter', value: { name: hash.httpQueryParameterName } },
    })
  }
  return null
}
