// For tests and soak runs: a control plane that serves what it is told, and resources to tell it.

import { type DescMessage, toBinary } from '@bufbuild/protobuf'
import { BootstrapSchema } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypedExtensionConfigSchema } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { XdsConnection } from '../../xds/server.ts'
import { RecordingHandler, silentLog } from '../../xds/testing.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import { parseJson } from '../config/json.ts'
import type { ProxyOptions } from './options.ts'

const SCHEMA: Readonly<Record<string, DescMessage>> = {
  [CDS_TYPE]: ClusterSchema,
  [ECDS_TYPE]: TypedExtensionConfigSchema,
  [EDS_TYPE]: ClusterLoadAssignmentSchema,
  [LDS_TYPE]: ListenerSchema,
  [RDS_TYPE]: RouteConfigurationSchema,
  [SDS_TYPE]: SecretSchema,
}

/** A control plane that serves what it is told. */
export class ControlPlane extends RecordingHandler {
  private readonly resources = new Map<string, Map<string, object>>()
  private version = 0
  override onSubscribed = (conn: XdsConnection, typeUrl: string): void =>
    this.send(conn, typeUrl, [...this.of(typeUrl).keys()])

  /** Stores without sending. */
  put(typeUrl: string, name: string, resource: object): void {
    this.of(typeUrl).set(name, resource)
  }

  push(typeUrl: string, name: string, resource: object): void {
    this.put(typeUrl, name, resource)
    this.send(this.connection!, typeUrl, [name])
  }

  drop(typeUrl: string, name: string): void {
    this.of(typeUrl).delete(name)
    this.connection!.push(typeUrl, { resources: [], removed: [name], version: String(++this.version), full: false })
  }

  count(event: string): number {
    return this.events.filter((e) => e.startsWith(event)).length
  }

  private of(typeUrl: string): Map<string, object> {
    let map = this.resources.get(typeUrl)
    if (map === undefined) {
      map = new Map()
      this.resources.set(typeUrl, map)
    }
    return map
  }

  private send(conn: XdsConnection, typeUrl: string, names: readonly string[]): void {
    const schema = SCHEMA[typeUrl]
    const version = String(++this.version)
    const resources = names.flatMap((name) => {
      const json = this.of(typeUrl).get(name)
      return schema && json ? [{ name, version, body: toBinary(schema, parseJson(schema, json, { path: '' })) }] : []
    })
    conn.push(typeUrl, { resources, removed: [], version, full: false, force: true })
  }
}

/** For one worker that drains and flushes within a second. */
export function testOptions(bootstrap: object): ProxyOptions {
  return {
    bootstrap: parseJson(BootstrapSchema, bootstrap, { path: '' }),
    configPath: 'test.json',
    concurrency: 1,
    drainTimeS: 1,
    drainStrategy: 'immediate',
    fileFlushIntervalMs: 1000,
    fileFlushMinSizeKb: 64,
    rejectUnknownDynamicFields: false,
    log: silentLog,
  }
}

export const ADS = { ads: {}, resource_api_version: 'V3' }
const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
export const ROUTER = {
  name: 'envoy.filters.http.router',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
}

export const cluster = (name: string) => ({
  name,
  type: 'EDS',
  connect_timeout: '1s',
  eds_cluster_config: { eds_config: ADS },
})
export const endpoints = (name: string, ...ports: number[]) => ({
  cluster_name: name,
  endpoints: [
    {
      lb_endpoints: ports.map((port_value) => ({
        endpoint: { address: { socket_address: { address: '127.0.0.1', port_value } } },
      })),
    },
  ],
})
export const routes = (name: string, target: string) => ({
  name,
  virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: target } }] }],
})
export const listener = (name: string, port_value: number, extra: object = {}) => ({
  name,
  address: { socket_address: { address: '127.0.0.1', port_value } },
  filter_chains: [
    {
      filters: [
        {
          name: 'hcm',
          typed_config: {
            '@type': HCM,
            stat_prefix: 'in',
            rds: { route_config_name: 'r', config_source: ADS },
            http_filters: [ROUTER],
            ...extra,
          },
        },
      ],
    },
  ],
})
