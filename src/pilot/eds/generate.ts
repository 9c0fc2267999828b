// EDS answers: one assignment for each outbound cluster name asked for.
import { create } from '@bufbuild/protobuf'
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignmentSchema,
} from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { clusterPolicy } from '../cds/policy.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { parseOutboundClusterName } from '../xds/names.ts'
import { type AssignmentInputs, buildAssignment } from './endpoints.ts'

/** Assignments for the named clusters, in order; unknown names give empty ones, so that the proxy does not wait. */
export function generateEndpoints(
  proxy: ProxyNode,
  push: PushContext,
  names: Iterable<string>,
): ClusterLoadAssignment[] {
  const out: ClusterLoadAssignment[] = []
  for (const name of names) {
    const inputs = assignmentInputs(name, proxy, push)
    out.push(inputs ? buildAssignment(inputs) : create(ClusterLoadAssignmentSchema, { clusterName: name }))
  }
  return out
}

/** What decides the assignment called `name` for a proxy; null when the proxy has no such service, port or subset. */
export function assignmentInputs(name: string, proxy: ProxyNode, push: PushContext): AssignmentInputs | null {
  const parts = parseOutboundClusterName(name)
  if (!parts) return null
  const scope = push.sidecarScope(proxy)
  const service = scope.servicesByHost.get(parts.host)
  if (!service) return null
  const rule = scope.destinationRule(service, proxy.labels)
  const subset = parts.subset ? (rule?.rule.spec.subsets?.find((s) => s.name === parts.subset) ?? null) : null
  if (parts.subset && !subset) return null
  return {
    name,
    service,
    port: parts.port,
    subset,
    rule,
    policy: clusterPolicy(rule, subset, parts.port, null),
    proxy,
    push,
  }
}
