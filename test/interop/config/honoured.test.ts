// Every field is honoured or refused: an edit of a bootstrap that is accepted must change what the parsers make of it. A
// field that is accepted and changes nothing, whatever its value, is ignored, and has to be listed here with its reason.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { ClusterSchema } from '../../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { messageType } from '../../../src/api/registry.ts'
import { ConfigError } from '../../../src/base/errors.ts'
import { createParseContext } from '../../../src/proxy/config/extension-registry.ts'
import { loadBootstrap } from '../../../src/proxy/config/load-bootstrap.ts'
import { registerExtensions } from '../../../src/proxy/filters/register.ts'
import { parseListener } from '../../../src/proxy/network/listener-config.ts'
import { TestCa } from '../../../src/proxy/network/testing.ts'
import { refuseUnsupportedBootstrap } from '../../../src/proxy/server/bootstrap-fields.ts'
import { decodeResource, staticResource } from '../../../src/proxy/server/resource.ts'
import { parseCluster } from '../../../src/proxy/upstream/parse-cluster.ts'
import { resourceFiles, richBootstrap } from '../harness/rich-bootstrap.ts'
import { applied, type Edit, edits, type Json } from './mutate.ts'

/** `message.field`, why it may be without effect. */
const IGNORED: readonly [pattern: RegExp, reason: string][] = [
  [/StaticResources\.secrets$/, 'secrets have a parser of their own, at start'],
  [
    /ConfigSource|PathConfigSource|eds_config$|eds_cluster_config$|Rds\.config_source$|sds_config$/,
    'where resources come from is the server’s matter',
  ],
  [
    /consistent_hashing_lb_config$|(maglev|ring_hash|least_request|round_robin|original_dst)_lb_config$/,
    'belongs to another lb_policy than the cluster’s',
  ],
  [/update_merge_window$/, 'updates of clusters are not merged'],
  [/CustomClusterType\.name$|RetryHostPredicate\.|Upstream.*\.name$/, 'the type of the configuration decides'],
  [
    /Cluster\.(common_http_protocol_options|http2?_protocol_options|max_requests_per_connection|protocol_selection|upstream_http_protocol_options)$/,
    'typed_extension_protocol_options stand in their place',
  ],
  [/use_tcp_for_dns_lookups$/, 'names are resolved by the system'],
  [/watched_directory$/, 'the directories of files are watched'],
  [/use_balsa_parser$|use_oghttp2_codec$/, 'which of its parsers Envoy uses'],
  [
    /typed_filter_metadata$|proximity$|LocalityLbEndpoints\.(metadata|priority)$|address_suffix$|suffix_len$/,
    'nothing reads it',
  ],
  [/SocketAddress\.protocol$/, 'TCP is the only one'],
  [/SubstitutionFormatString\.(content_type|json_format_options)$/, 'of no use to a text log'],
  [/bypass_overload_manager$/, 'there is no overload manager'],
  [/add_proxy_protocol_connection_state$/, 'true is what happens anyway; false is refused'],
  [/max_connections_to_accept_per_socket_event$/, 'libuv accepts one for each event: never more than it allows'],
  [/reuse_port$/, 'see docs/differences.md'],
  [/(Permission|Principal)\.any$/, 'true is the only value'],
  [/metadata_match$/, 'only envoy.lb is for load balancers'],
  [/total_weight$/, 'deprecated: the sum is'],
  [/RouteAction\.max_internal_redirects$/, 'of use beside internal_redirect_action only'],
  [/max_direct_response_body_size_bytes$/, 'a limit'],
  [
    /transport_api_version$|encode_raw_headers$|charge_cluster_response_stats$/,
    'of no use to an HTTP authorization service',
  ],
  [/is_optional$/, 'of no use to a filter that there is'],
  [/allow_metadata$/, 'METADATA frames are skipped, as unknown frames are'],
  [/LocalRateLimit\.status$/, 'only errors replace 429'],
  [/SubjectAltNameMatcher\.oid$|FractionalPercent\.denominator$/, 'of no use to the value beside it'],
  [/enforce_rsa_key_usage$/, 'OpenSSL looks at the key usage itself'],
  [/google_re2$/, 'see docs/differences.md'],
]

it('no field of listeners and clusters is accepted without effect', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'honoured-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const ca = new TestCa(t)
  const { cert, key } = ca.issue('DNS:a.example')
  const files = { rds: join(dir, 'rds.json'), eds: join(dir, 'eds.json'), sds: join(dir, 'sds.json') }
  const texts = resourceFiles(9, cert, key)
  for (const name of ['rds', 'eds', 'sds'] as const) writeFileSync(files[name], texts[name])
  const make = richBootstrap({
    upstream: 9,
    upstreamHttp2: 9,
    ca: ca.cert,
    cert,
    key,
    files,
    listeners: [1001, 1002, 1003],
  })
  const base = JSON.parse(
    JSON.stringify(make({ listener: 1000, admin: 1004, accessLog: join(dir, 'access.log') })),
  ) as Json
  const registry = registerExtensions()
  const path = join(dir, 'bootstrap.json')

  /** What the parsers make of listeners and clusters; null = refused. */
  const parsed = (config: Json): string | null => {
    writeFileSync(path, JSON.stringify(config))
    try {
      const bootstrap = loadBootstrap({ path, allowUnknownFields: false })
      refuseUnsupportedBootstrap(bootstrap)
      const context = createParseContext(registry)
      const { clusters = [], listeners = [] } = bootstrap.staticResources ?? {}
      return plain([
        clusters.map((c) =>
          parseCluster(decodeResource(ClusterSchema, staticResource(ClusterSchema, c.name, c)), context),
        ),
        listeners.map((l) =>
          parseListener(decodeResource(ListenerSchema, staticResource(ListenerSchema, l.name, l)), context, registry),
        ),
      ])
    } catch (error) {
      if (error instanceof ConfigError) return null
      throw error
    }
  }

  const before = parsed(base)
  assert.notEqual(before, null)
  const accepted = new Set<string>()
  const effective = new Set<string>()
  for (const edit of edits(base)) {
    const name = `${edit.type}.${edit.field}`
    if (!edit.path.startsWith('static_resources.') || effective.has(name)) continue
    const after = parsed(applied(base, edit))
    if (after === null) continue
    if (!isDefault(edit)) accepted.add(name)
    if (after !== before) effective.add(name)
  }
  const ignored = [...accepted].filter(
    (name) => !effective.has(name) && !IGNORED.some(([pattern]) => pattern.test(name)),
  )
  assert.deepEqual(ignored.sort(), [])
})

/** What the absent field means, too. */
function isDefault(edit: Edit): boolean {
  const field = messageType(edit.type)?.fields.find(({ name }) => name === edit.field)
  return isEmpty(edit.value) || (field?.fieldKind === 'enum' && field.enum.values[0]!.name === edit.value)
}

function isEmpty(value: Json | undefined): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every((inner) => isEmpty(inner as Json))
  return value === undefined || value === false || value === 0 || value === '' || value === '0s'
}

/** Comparable text, without what depends on the whole message. */
function plain(value: unknown): string {
  return JSON.stringify(value, (name, inner: unknown) => {
    if (name === 'key' || inner instanceof SharedArrayBuffer) return undefined
    if (typeof inner === 'bigint') return `${inner}n`
    if (inner instanceof Map) return [...inner]
    if (inner instanceof Set) return [...inner]
    if (ArrayBuffer.isView(inner)) return Buffer.from(inner.buffer, inner.byteOffset, inner.byteLength).toString('hex')
    return inner
  })
}
