// Listeners of proxyless gRPC clients: one an asked name and port, whose routes come by RDS.
import { isIPv6 } from 'node:net'
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { type ConfigSource, ConfigSourceSchema } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { HttpConnectionManagerSchema } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { FAULT, ROUTER } from '../lds/filters.ts'
import { additionalAddresses } from '../lds/wildcard.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Service, ServicePort } from '../model/service.ts'
import { addressesFor, primaryAddress } from '../model/service-addresses.ts'
import { addressOf } from '../xds/messages.ts'
import { outboundClusterName } from '../xds/names.ts'
import { type AskedHosts, askedHosts } from './asked.ts'

const ANY_ADDRESS = '0.0.0.0'

/** gRPC knows one way to get resources, and reads no version. */
export const ADS: ConfigSource = create(ConfigSourceSchema, { configSourceSpecifier: { case: 'ads', value: {} } })

/** The services asked for by name (all of them without names), a listener for each name and port. */
export function clientListeners(proxy: ProxyNode, push: PushContext, names: readonly string[]): Listener[] {
  const asked = askedHosts(names, proxy)
  return push.sidecarScope(proxy).services.flatMap((service) => listenersOf(service, asked, proxy))
}

function listenersOf(service: Service, asked: AskedHosts, proxy: ProxyNode): Listener[] {
  const wanted = asked ? asked.get(service.hostname) : { names: new Set([service.hostname]), ports: null }
  if (!wanted) return []
  const ports = service.ports.filter(({ port }) => wanted.ports?.has(port) ?? true)
  return [...wanted.names].sort().flatMap((name) => ports.map((port) => clientListener(name, service, port, proxy)))
}

function clientListener(name: string, service: Service, { port }: ServicePort, proxy: ProxyNode): Listener {
  const manager = create(HttpConnectionManagerSchema, {
    routeSpecifier: {
      case: 'rds',
      value: { configSource: ADS, routeConfigName: outboundClusterName(port, '', service.hostname) },
    },
    httpFilters: [FAULT, ROUTER],
  })
  return create(ListenerSchema, {
    name: isIPv6(name) ? `[${name}]:${port}` : `${name}:${port}`,
    address: addressOf(primaryAddress(service, proxy) ?? ANY_ADDRESS, port),
    additionalAddresses: additionalAddresses(addressesFor(service, proxy), port),
    apiListener: { apiListener: anyPack(HttpConnectionManagerSchema, manager) },
  })
}
