// /config_dump?include_eds: what EDS has delivered as it came, and the hosts of all other clusters as an assignment.

import { create, type JsonObject, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { HealthStatus } from '../../api/gen/envoy/config/core/v3/health_check_pb.js'
import type {
  LbEndpointSchema,
  LocalityLbEndpointsSchema,
} from '../../api/gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignmentSchema,
} from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { addressMessage } from '../admin/cluster-status.ts'
import type { ClusterStatusData, DumpedResource, HealthFlag, HostStatusData } from '../admin/source.ts'
import { sameLocality } from '../upstream/host.ts'
import type { ClusterResources } from './clusters.ts'
import { dumped } from './resource.ts'

/** Static ones are those of the bootstrap's clusters, whatever tells their endpoints (Envoy). */
export function endpointDump(
  clusters: readonly ClusterStatusData[],
  resources: Pick<ClusterResources, 'dumpEndpoints' | 'isDiscovered'>,
): { static: readonly DumpedResource[]; dynamic: readonly DumpedResource[] } {
  const discovered = resources.dumpEndpoints()
  const others = clusters.filter(({ name }) => !resources.isDiscovered(name))
  const dump = (addedViaApi: boolean): DumpedResource[] =>
    others.filter((cluster) => cluster.addedViaApi === addedViaApi).map(asResource)
  return {
    static: [...discovered.static, ...dump(false)].sort(byName),
    dynamic: [...discovered.dynamic, ...dump(true)].sort(byName),
  }
}

function byName(a: DumpedResource, b: DumpedResource): number {
  return a.name < b.name ? -1 : 1
}

function asResource(cluster: ClusterStatusData): DumpedResource {
  const body = toBinary(ClusterLoadAssignmentSchema, assignmentOf(cluster))
  return dumped(ClusterLoadAssignmentSchema, { name: cluster.name, version: '', body })
}

function assignmentOf({ name, hosts, overprovisioningFactor, resolved }: ClusterStatusData): ClusterLoadAssignment {
  const groups: HostStatusData[][] = []
  for (const host of hosts) {
    const group = groups.find(
      ([first]) => first!.priority === host.priority && sameLocality(first!.locality, host.locality),
    )
    if (group) group.push(host)
    else groups.push([host])
  }
  groups.sort(([a], [b]) => a!.priority - b!.priority || (localityKey(a!) < localityKey(b!) ? -1 : 1))
  return create(ClusterLoadAssignmentSchema, {
    clusterName: name,
    endpoints: groups.map((group) => localityEndpoints(group, resolved)),
    policy: { overprovisioningFactor },
  })
}

function localityKey({ locality: { region, zone, subZone } }: HostStatusData): string {
  return [region, zone, subZone].join('\0')
}

function localityEndpoints(
  hosts: readonly HostStatusData[],
  resolved: boolean,
): MessageInitShape<typeof LocalityLbEndpointsSchema> {
  const { locality, localityWeight, priority } = hosts[0]!
  return {
    locality,
    lbEndpoints: hosts.map((host) => lbEndpoint(host, resolved)),
    loadBalancingWeight: localityWeight,
    priority,
  }
}

function lbEndpoint(host: HostStatusData, resolved: boolean): MessageInitShape<typeof LbEndpointSchema> {
  const filterMetadata = host.metadata as Record<string, JsonObject>
  return {
    hostIdentifier: {
      case: 'endpoint',
      value: {
        address: addressMessage(host.address),
        hostname: host.hostname,
        healthCheckConfig: { portValue: host.healthCheckPort, hostname: host.healthCheckHostname },
      },
    },
    healthStatus: healthOf(host),
    // Hosts that come of names have one, though it be empty (Envoy).
    ...(resolved || Object.keys(filterMetadata).length > 0 ? { metadata: { filterMetadata } } : {}),
    loadBalancingWeight: host.weight,
  }
}

const UNHEALTHY: readonly HealthFlag[] = [
  'failed_active_hc',
  'failed_outlier_check',
  'failed_eds_health',
  'eds_status_draining',
]
const DEGRADED: readonly HealthFlag[] = ['degraded_active_hc', 'degraded_eds_health']

/** As balancers see it, whoever found it out. */
function healthOf({ healthFlags }: HostStatusData): HealthStatus {
  if (healthFlags.some((flag) => UNHEALTHY.includes(flag))) return HealthStatus.UNHEALTHY
  return healthFlags.some((flag) => DEGRADED.includes(flag)) ? HealthStatus.DEGRADED : HealthStatus.HEALTHY
}
