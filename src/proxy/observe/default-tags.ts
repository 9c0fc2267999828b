// The tags that Envoy extracts from stat names by default, in its order (the order of labels in Prometheus output).

import type { TagRule } from './stats-settings.ts'

const WORD = '[^.]+'
const ADDRESS = '[_.\\d]*|[_[\\]a-fA-F\\d]*'
const CIPHER = '[\\w-]+'

function tag(name: string, regex: string): TagRule {
  return { name: `envoy.${name}`, regex, fixedValue: null }
}

/** A word of a dotted name: `cluster.$.` takes the word at `$` with its dot. */
function word(name: string, pattern: string): TagRule {
  const [before, after] = pattern.split('$') as [string, string]
  const toRegex = (text: string) => text.replaceAll('.', '\\.').replaceAll('*', WORD)
  return tag(name, `^${toRegex(before)}((${WORD})\\.)${after === '.' ? '' : toRegex(after.slice(1))}`)
}

export const DEFAULT_TAGS: readonly TagRule[] = [
  tag('response_code', '_rq(_(\\d{3}))$'),
  tag('response_code_class', '_rq_((\\d))xx$'),
  tag('worker_id', '^(?:listener\\..*?|server|thread_local_cluster_manager)\\.worker_((\\d+)\\.)'),
  tag(
    'dynamo_partition_id',
    `^http\\.${WORD}\\.dynamodb\\.table\\.${WORD}\\.capacity\\.${WORD}(\\.__partition_id=(\\w{7}))$`,
  ),
  tag(
    'dynamo_operation',
    `^http\\.${WORD}\\.dynamodb\\.(?:operation|table\\.${WORD}\\.capacity)(\\.(${WORD}))(?:\\.|$)`,
  ),
  tag('mongo_callsite', `^mongo\\.${WORD}\\.collection\\.${WORD}\\.callsite\\.((${WORD})\\.)query\\.`),
  tag('dynamo_table', `^http\\.${WORD}\\.dynamodb\\.(?:table|error)\\.((${WORD})\\.)`),
  tag('mongo_collection', `^mongo\\.${WORD}\\.collection\\.((${WORD})\\.).*?query\\.`),
  word('mongo_cmd', 'mongo.*.cmd.$.'),
  tag('grpc_bridge_method', `^cluster\\.${WORD}\\.grpc\\.${WORD}\\.((${WORD})\\.)`),
  word('http_user_agent', 'http.*.user_agent.$.'),
  word('virtual_cluster', 'vhost.*.vcluster.$.'),
  word('fault_downstream_cluster', 'http.*.fault.$.'),
  tag('ssl_cipher', `^listener\\..*?\\.ssl\\.cipher(\\.(${CIPHER}))$`),
  { name: 'cipher_suite', regex: `^cluster\\.${WORD}\\.ssl\\.ciphers(\\.(${CIPHER}))$`, fixedValue: null },
  word('grpc_bridge_service', 'cluster.*.grpc.$.'),
  tag('rbac_prefix', `^((${WORD})\\.)rbac\\.`),
  tag('tls_certificate', `^(?:listener|cluster)\\..*?\\.ssl\\.certificate\\.((${WORD})\\.)`),
  word('tcp_prefix', 'tcp.$.'),
  word('udp_prefix', 'udp.$.'),
  word('clientssl_prefix', 'auth.clientssl.$.'),
  word('ratelimit_prefix', 'ratelimit.$.'),
  word('cluster_name', 'cluster.$.'),
  tag('rds_route_config', `^http\\.${WORD}\\.rds\\.(([\\w-.]+)\\.)\\w+?$`),
  tag('http_conn_manager_prefix', `^listener\\..*?\\.http\\.((${WORD})\\.)`),
  word('http_conn_manager_prefix', 'http.$.'),
  // An address, or the listener's stat_prefix; the admin's is none.
  tag('listener_address', `^listener\\.(?!admin\\.)((${ADDRESS}|${WORD})\\.)`),
  word('virtual_host', 'vhost.$.'),
  word('mongo_prefix', 'mongo.$.'),
  tag('scoped_rds_config', `^http\\.${WORD}\\.scoped_rds\\.(([\\w-.]+)\\.)\\w+?$`),
  word('route', 'vhost.*.route.$.'),
  word('xds_resource_name', 'sds.$.'),
  word('thrift_prefix', 'thrift.$.'),
  word('redis_prefix', 'redis.$.'),
  tag('local_http_ratelimit_prefix', `^((${WORD})\\.)http_local_rate_limit\\.`),
  tag('local_network_ratelimit_prefix', `^local_rate_limit\\.((${WORD})\\.)`),
  tag('connection_limit_prefix', `^connection_limit\\.((${WORD})\\.)`),
  tag('ext_authz_prefix', `^ext_authz\\.((${WORD})\\.)`),
]
