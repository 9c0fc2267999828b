// Helpers of tests that route requests without a server.

import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { RuntimeSnapshot } from '../config/extension.ts'
import { createParseContext, ExtensionRegistry } from '../config/extension-registry.ts'
import { parseJson } from '../config/json.ts'
import { checkRules } from '../config/validate-rules.ts'
import { HeaderMap } from '../http/header-map.ts'
import { ipAddress } from '../network/address.ts'
import { SocketConnectionInfo } from '../network/connection-info.ts'
import { StreamInfo } from '../stream-info.ts'
import { parseRouteConfiguration } from './parse.ts'
import type { RouteTable } from './route.ts'
import { compileRouteTable } from './route-table.ts'

/** A runtime without keys. */
export const NO_RUNTIME: RuntimeSnapshot = {
  number: (_, fallback) => fallback,
  bool: (_, fallback) => fallback,
  fraction: (_, fallback) => fallback,
}

/** Parses, sends through structured clone as a worker would get it, and compiles. */
export function routeTable(config: unknown, runtime: RuntimeSnapshot = NO_RUNTIME): RouteTable {
  const message = parseJson(RouteConfigurationSchema, config, { path: '' })
  checkRules(RouteConfigurationSchema, message, '')
  const data = parseRouteConfiguration(message, createParseContext(new ExtensionRegistry()))
  return compileRouteTable(structuredClone(data), runtime)
}

/** Routes of one virtual host for every domain. */
export function routes(list: readonly unknown[]): RouteTable {
  return routeTable({ name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: list }] })
}

export function request(
  path: string,
  headers: Readonly<Record<string, string>> = {},
  authority = 'a.example',
): HeaderMap {
  const map = new HeaderMap()
  map.method = 'GET'
  map.path = path
  map.authority = authority
  map.scheme = 'http'
  for (const [name, value] of Object.entries(headers)) map.add(name, value)
  return map
}

export function streamInfo(): StreamInfo {
  return new StreamInfo(new SocketConnectionInfo(ipAddress('127.0.0.1', 80), ipAddress('192.0.2.7', 5000)), null)
}

/** Name of the cluster that a request goes to, or null for no route. */
export function clusterOf(table: RouteTable, headers: HeaderMap, random = 0): string | null {
  return table.route(headers, streamInfo(), random)?.clusterName(headers) ?? null
}
