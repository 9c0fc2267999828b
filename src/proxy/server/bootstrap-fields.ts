// Every field of the bootstrap is honoured or refused.

import {
  type Admin,
  AdminSchema,
  type Bootstrap,
  Bootstrap_DynamicResourcesSchema,
  Bootstrap_StaticResourcesSchema,
  BootstrapSchema,
} from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { FileAccessLogSchema } from '../../api/gen/envoy/extensions/access_loggers/file/v3/file_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { unpackAs } from '../config/extension-registry.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { parseStatsSinks } from './stats-sinks/config.ts'

const FIELDS = new Set([
  'node',
  'static_resources',
  'dynamic_resources',
  'cluster_manager',
  'stats_config',
  'stats_flush_interval',
  'stats_flush_on_admin',
  'stats_sinks',
  'stats_server_version_override',
  'layered_runtime',
  'admin',
  'watchdog',
  'watchdogs',
  'tracing',
  // Node's resolver follows the system's configuration.
  'typed_dns_resolver_config',
  'dns_resolution_config',
  'use_tcp_for_dns_lookups',
  'bootstrap_extensions',
  'overload_manager',
])

/** The page can be asked for no log of its own; the way to say so is the null device. */
function refuseAdminFields(admin: Admin): void {
  const fields = new Set(['address', 'profile_path', 'access_log', 'access_log_path', 'ignore_global_conn_limit'])
  refuseUnsupported(AdminSchema, admin, fields, 'admin')
  const paths = admin.accessLog.map(({ configType }, i) => {
    const path = `admin.access_log[${i}]`
    if (configType.case !== 'typedConfig') throw new ConfigError(path, 'an access log needs typed_config')
    return [path, unpackAs(configType.value, FileAccessLogSchema, path).path] as const
  })
  if (admin.accessLogPath !== '') paths.push(['admin.access_log_path', admin.accessLogPath])
  for (const [path, file] of paths)
    if (file !== '/dev/null') throw new ConfigError(path, 'not supported by this proxy; remove it, or name /dev/null')
}

/** Throws ConfigError for a field that this proxy cannot honour. */
export function refuseUnsupportedBootstrap(bootstrap: Bootstrap): void {
  refuseUnsupported(BootstrapSchema, bootstrap, FIELDS, '')
  parseStatsSinks(bootstrap)
  for (const [i, extension] of bootstrap.bootstrapExtensions.entries()) {
    // Internal listeners are refused where they are configured; the extension that enables them does no harm alone.
    if (extension.name === 'envoy.bootstrap.internal_listener') continue
    throw new ConfigError(
      `bootstrap_extensions[${i}]`,
      `no bootstrap extension "${extension.name}" in this build; remove it`,
    )
  }
  if (bootstrap.staticResources) {
    refuseUnsupported(
      Bootstrap_StaticResourcesSchema,
      bootstrap.staticResources,
      new Set(['listeners', 'clusters', 'secrets']),
      'static_resources',
    )
  }
  if (bootstrap.admin) refuseAdminFields(bootstrap.admin)
  const local = bootstrap.clusterManager?.localClusterName ?? ''
  if (local !== '' && !bootstrap.staticResources?.clusters.some((cluster) => cluster.name === local))
    throw new ConfigError('cluster_manager.local_cluster_name', `local cluster '${local}' must be defined`)
  if (bootstrap.dynamicResources) {
    refuseUnsupported(
      Bootstrap_DynamicResourcesSchema,
      bootstrap.dynamicResources,
      new Set(['lds_config', 'cds_config', 'ads_config']),
      'dynamic_resources',
    )
  }
}
