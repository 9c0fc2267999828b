// ClusterLoadAssignment → plain data.

import { isIP } from 'node:net'
import type { Address as AddressMessage } from '../../api/gen/envoy/config/core/v3/address_pb.js'
import type { Metadata } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { HealthStatus as ProtoHealth } from '../../api/gen/envoy/config/core/v3/health_check_pb.js'
import type { LbEndpoint, LocalityLbEndpoints } from '../../api/gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import type { ClusterLoadAssignment } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { ipAddress, pipeAddress } from '../network/address.ts'
import type { Address } from '../network/connection.ts'
import { millionths } from '../route/parse-common.ts'
import {
  type EndpointData,
  type EndpointsData,
  HealthStatus,
  type LocalityEndpointsData,
  type MetadataData,
} from './config.ts'

const DEFAULT_OVERPROVISIONING = 140

const HEALTH: Readonly<Record<ProtoHealth, HealthStatus>> = {
  [ProtoHealth.UNKNOWN]: HealthStatus.Unknown,
  [ProtoHealth.HEALTHY]: HealthStatus.Healthy,
  [ProtoHealth.UNHEALTHY]: HealthStatus.Unhealthy,
  [ProtoHealth.DRAINING]: HealthStatus.Draining,
  [ProtoHealth.TIMEOUT]: HealthStatus.Timeout,
  [ProtoHealth.DEGRADED]: HealthStatus.Degraded,
}

export function healthStatusOf(status: ProtoHealth): HealthStatus {
  return HEALTH[status] ?? HealthStatus.Unknown
}

const NO_METADATA: MetadataData = Object.freeze({})

export function metadataOf(metadata: Metadata | undefined): MetadataData {
  return (metadata?.filterMetadata as MetadataData | undefined) ?? NO_METADATA
}

/** `names`: host names are allowed (DNS clusters), else addresses must be literal. Throws ConfigError. */
export function parseEndpoints(
  assignment: ClusterLoadAssignment,
  names: boolean,
  context: ParseContext,
): EndpointsData {
  if (Object.keys(assignment.namedEndpoints).length > 0) {
    throw new ConfigError(context.at('named_endpoints').path, 'not supported by this proxy; list the endpoints')
  }
  const drops = assignment.policy?.dropOverloads ?? []
  if (drops.length > 1)
    throw new ConfigError(context.at('policy.drop_overloads').path, 'more than one drop overload is not supported')
  const localities = assignment.endpoints.map((group, i) => parseLocality(group, names, context.at(`endpoints[${i}]`)))
  checkPriorities(localities, context)
  return {
    clusterName: assignment.clusterName,
    localities,
    overprovisioningFactor: assignment.policy?.overprovisioningFactor ?? DEFAULT_OVERPROVISIONING,
    weightedPriorityHealth: assignment.policy?.weightedPriorityHealth ?? false,
    dropMillionths: millionths(drops[0]?.dropPercentage, 0),
  }
}

/** Priorities start at 0 and leave no gap. */
function checkPriorities(localities: readonly LocalityEndpointsData[], context: ParseContext): void {
  const used = new Set(localities.map((group) => group.priority))
  const highest = Math.max(0, ...used)
  for (let priority = 0; priority < highest; priority++) {
    if (!used.has(priority)) {
      throw new ConfigError(
        context.at('endpoints').path,
        `priorities must be contiguous from 0: ${priority} is missing`,
      )
    }
  }
}

function parseLocality(group: LocalityLbEndpoints, names: boolean, context: ParseContext): LocalityEndpointsData {
  if (group.lbConfig.case === 'ledsClusterLocalityConfig') {
    throw new ConfigError(context.at('leds_cluster_locality_config').path, 'LEDS is not supported by this proxy')
  }
  const list = group.lbConfig.case === 'loadBalancerEndpoints' ? group.lbConfig.value.lbEndpoints : group.lbEndpoints
  return {
    locality: {
      region: group.locality?.region ?? '',
      zone: group.locality?.zone ?? '',
      subZone: group.locality?.subZone ?? '',
    },
    priority: group.priority,
    weight: group.loadBalancingWeight ?? 0,
    metadata: metadataOf(group.metadata),
    endpoints: list.map((endpoint, i) => parseEndpoint(endpoint, names, context.at(`lb_endpoints[${i}]`))),
  }
}

function parseEndpoint(lb: LbEndpoint, names: boolean, context: ParseContext): EndpointData {
  if (lb.hostIdentifier.case !== 'endpoint') {
    throw new ConfigError(context.path, 'endpoint is required (endpoint_name is not supported)')
  }
  const endpoint = lb.hostIdentifier.value
  const at = context.at('endpoint')
  if (!endpoint.address) throw new ConfigError(at.at('address').path, 'is required')
  const check = endpoint.healthCheckConfig
  const address = parseAddress(endpoint.address, names, at.at('address'))
  return {
    address,
    additionalAddresses: endpoint.additionalAddresses.map((additional, i) =>
      parseAdditional(additional.address, at.at(`additional_addresses[${i}]`)),
    ),
    hostname: endpoint.hostname || (names && !isIP(address.ip) ? address.ip : ''),
    observabilityName: endpoint.observabilityName,
    healthStatus: healthStatusOf(lb.healthStatus),
    weight: lb.loadBalancingWeight ?? 1,
    metadata: metadataOf(lb.metadata),
    healthCheckPort: check?.portValue ?? 0,
    healthCheckHostname: check?.hostname ?? '',
    healthCheckAddress: check?.address
      ? parseAddress(check.address, false, at.at('health_check_config.address'))
      : null,
    disableActiveHealthCheck: check?.disableActiveHealthCheck ?? false,
  }
}

function parseAdditional(message: AddressMessage | undefined, context: ParseContext): Address {
  if (!message) throw new ConfigError(context.at('address').path, 'is required')
  const address = parseAddress(message, false, context.at('address'))
  if (address.pipe !== undefined) throw new ConfigError(context.at('address').path, 'must be an IP address')
  return address
}

/** A TCP address or a Unix socket. */
export function parseAddress(message: AddressMessage, names: boolean, context: ParseContext): Address {
  const { address } = message
  switch (address.case) {
    case 'pipe':
      return pipeAddress(address.value.path)
    case 'socketAddress': {
      const { address: host, portSpecifier } = address.value
      if (portSpecifier.case === 'namedPort') {
        throw new ConfigError(
          context.at('socket_address.named_port').path,
          'is not supported: give the number in port_value',
        )
      }
      if (!names && isIP(host) === 0) {
        throw new ConfigError(
          context.at('socket_address.address').path,
          `malformed IP address: ${host}. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'`,
        )
      }
      return ipAddress(host, portSpecifier.value ?? 0)
    }
    case 'envoyInternalAddress':
      throw new ConfigError(
        context.at('envoy_internal_address').path,
        'internal listeners are not supported by this proxy',
      )
    default:
      throw new ConfigError(context.path, 'one of socket_address, pipe is required')
  }
}
