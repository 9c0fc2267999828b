// Resources as they arrive, through our parsers: accepted and used, or refused as ConfigError.

import type { DescMessage } from '@bufbuild/protobuf'
import { ClusterSchema } from '../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../src/api/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../src/api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError } from '../../src/base/errors.ts'
import { createParseContext } from '../../src/proxy/config/extension-registry.ts'
import { registerExtensions } from '../../src/proxy/filters/register.ts'
import { ipAddress } from '../../src/proxy/network/address.ts'
import { SocketConnectionInfo } from '../../src/proxy/network/connection-info.ts'
import { parseListener } from '../../src/proxy/network/listener-config.ts'
import { parseRouteConfiguration } from '../../src/proxy/route/parse.ts'
import { compileRouteTable } from '../../src/proxy/route/route-table.ts'
import { NO_RUNTIME, request } from '../../src/proxy/route/testing.ts'
import { parseSecret } from '../../src/proxy/server/parse-secret.ts'
import { decodeResource } from '../../src/proxy/server/resource.ts'
import { StreamInfo } from '../../src/proxy/stream-info.ts'
import { parseCluster } from '../../src/proxy/upstream/parse-cluster.ts'
import { parseEndpoints } from '../../src/proxy/upstream/parse-endpoints.ts'

export const registry = registerExtensions()

/** What is refused is refused as ConfigError; anything else is a fault of ours. */
export function accepted(use: () => void): boolean {
  try {
    use()
    return true
  } catch (error) {
    if (error instanceof ConfigError) return false
    throw error
  }
}

export const PARSERS: Readonly<Record<string, readonly [desc: DescMessage, parse: (body: Uint8Array) => unknown]>> = {
  listener: [
    ListenerSchema,
    (body) => parseListener(decodeResource(ListenerSchema, incoming(body)), createParseContext(registry), registry),
  ],
  cluster: [
    ClusterSchema,
    (body) => parseCluster(decodeResource(ClusterSchema, incoming(body)), createParseContext(registry)),
  ],
  endpoints: [
    ClusterLoadAssignmentSchema,
    (body) =>
      parseEndpoints(decodeResource(ClusterLoadAssignmentSchema, incoming(body)), false, createParseContext(registry)),
  ],
  secret: [SecretSchema, (body) => parseSecret(incoming(body), 'one')],
  route: [RouteConfigurationSchema, useRoutes],
}

function incoming(body: Uint8Array): { name: string; version: string; body: Uint8Array } {
  return { name: 'n', version: '1', body }
}

const INFO = new StreamInfo(new SocketConnectionInfo(ipAddress('127.0.0.1', 80), ipAddress('::1', 90)), null)
const PATHS = ['/', '/jwt', '/a/b?q=1&q=%zz', '', '*', '/\u00ff', `/${'a'.repeat(4000)}`, '/a;b=c/../d#f']

/** Accepted routes match or not; they never throw. */
export function useRoutes(body: Uint8Array): unknown {
  const message = decodeResource(RouteConfigurationSchema, incoming(body))
  const data = parseRouteConfiguration(message, createParseContext(registry))
  const table = compileRouteTable(structuredClone(data), NO_RUNTIME)
  for (const path of PATHS)
    for (const authority of ['a.example', '', '[::1]:80', 'A.EXAMPLE:1'])
      table.route(request(path, { 'x-a': 'b', cookie: 'a=b; c' }, authority), INFO, 7)
  return data
}
