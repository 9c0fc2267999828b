// Every field is read or refused: a field of the messages we parse whose name no code of src/proxy has is in the list of
// its parser's refusals or in refused-fields.ts, or is named here with the reason why it needs no reader.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import type { DescMessage } from '@bufbuild/protobuf'
import { BootstrapSchema } from '../../../src/api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ClusterSchema } from '../../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../../src/api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../../src/api/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../../src/api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { messageType } from '../../../src/api/registry.ts'
import { REFUSED_FIELDS } from '../../../src/proxy/config/refused-fields.ts'
import { registerExtensions } from '../../../src/proxy/filters/register.ts'

const SOURCES = new URL('../../../src/proxy/', import.meta.url).pathname

/** `message.field`, why it needs no reader. Messages below such a field are not looked at. */
const WITHOUT_READER: readonly [pattern: RegExp, reason: string][] = [
  [/Admin\.profile_path$/, 'names a file for a profile that is asked for on a page which we do not have'],
  [/Bootstrap\.watchdogs?$/, 'they watch Envoy’s threads for stalls'],
  [/CommonLbConfig\.update_merge_window$/, 'updates of clusters are not merged'],
  [/\.(?:transport|resource)_api_version$/, 'validation leaves V3 as the only value'],
  [/RuntimeLayer\.(?:disk|rtds)_layer$/, 'server/runtime.ts takes the other kinds and refuses these by name'],
  [/ConfigSource\.self$/, 'whoever reads a source takes the kinds it knows'],
  [/Address\.envoy_internal_address$|LbEndpoint\.endpoint_name$|leds_cluster_locality_config$/, 'refused by its kind'],
  [/ConnectionBalanceConfig\.(?:cpu_locality|extend)_balance$/, 'refused by its kind'],
  [/GrpcService\.google_grpc$|HealthCheck\.custom_health_check$/, 'refused by its kind'],
  [/CommonTlsContext\.validation_context_type|\.(?:validation_context_)?certificate_provider/, 'refused by its kind'],
  [/HeaderKeyFormat\.stateful_formatter$/, 'preserve_case is the only formatter'],
  [/Http1ProtocolOptions\.use_balsa_parser$|Http2ProtocolOptions\.use_oghttp2_codec$/, 'which parser Envoy uses'],
  [/Http2ProtocolOptions\.allow_metadata$/, 'METADATA frames are skipped, as unknown frames are'],
  [/SubstitutionFormatString\.json_format_options$/, 'keys are always sorted'],
  [/Metadata\.typed_filter_metadata$/, 'no extension here reads typed metadata'],
  [/core\.v3\.Node\./, 'the whole message goes to the management server'],
  [
    /LocalityLbEndpoints\.proximity$|HedgePolicy\.(?:initial_requests|additional_request_chance)$/,
    'Envoy does not, either',
  ],
  [/FaultDelay\.header_delay$|FaultRateLimit\.header_limit$/, 'the case that is left'],
  [/RateLimitPerRoute\.override_option$/, 'Envoy does not, either'],
  [/JwksAsyncFetch\.fast_listener$/, 'listeners never wait for keys'],
  [/TlsInspector\.initial_read_buffer_size$/, 'a hint for the allocation of buffers'],
  [/HttpConnectionManager\.strip_any_host_port$/, 'the only case of strip_port_mode'],
  [/UpstreamTlsContext\.enforce_rsa_key_usage$/, 'OpenSSL looks at the key usage itself'],
  [/MetadataExchange\.enable_discovery$|DiscoveryMethod\.workload_discovery$/, 'see docs/differences.md'],
  [
    /Listener\.max_connections_to_accept_per_socket_event$/,
    'libuv accepts one for each event: never more than it allows',
  ],
  [/RegexMatcher\.google_re2$/, 'see docs/differences.md'],
]

function withoutReader(name: string): boolean {
  return WITHOUT_READER.some(([pattern]) => pattern.test(name))
}

/** Text of the code, comments removed, by file. */
function sources(): Map<string, string> {
  const texts = new Map<string, string>()
  for (const name of readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts') || name.endsWith('refused-fields.ts')) continue
    texts.set(name, readFileSync(join(SOURCES, name), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, ''))
  }
  return texts
}

it('every field has a reader or is refused', () => {
  const code = sources()
  const words = new Set([...code.values()].flatMap((text) => text.match(/\w+/g) ?? []))
  /** The parser lists what it supports, and this is not in it. */
  const isUnsupported = (desc: DescMessage, field: string): boolean => {
    const schema = `${desc.typeName.slice(desc.file.proto.package.length + 1).replaceAll('.', '_')}Schema`
    const lists = [...code.values()].filter((text) => new RegExp(`refuseUnsupported\\(\\s*${schema}\\b`).test(text))
    return lists.length > 0 && !lists.some((text) => text.includes(`'${field}'`))
  }
  const unread: string[] = []
  const seen = new Set<string>()
  const walk = (desc: DescMessage): void => {
    if (seen.has(desc.typeName) || desc.typeName.startsWith('google.')) return
    seen.add(desc.typeName)
    for (const field of desc.fields) {
      const name = `${desc.typeName}.${field.name}`
      if (REFUSED_FIELDS[desc.typeName]?.includes(field.name) || isUnsupported(desc, field.name)) continue
      if (withoutReader(name)) continue
      if (!words.has(field.localName)) unread.push(name)
      if (field.message) walk(field.message)
    }
  }
  const roots = [BootstrapSchema, ListenerSchema, ClusterSchema, RouteConfigurationSchema, SecretSchema]
  for (const desc of [...roots, ClusterLoadAssignmentSchema]) walk(desc)
  for (const { typeName } of registerExtensions().all()) walk(messageType(typeName)!)
  assert.deepEqual(unread.sort(), [])
})

it('refused fields are fields', () => {
  for (const [type, names] of Object.entries(REFUSED_FIELDS)) {
    const outer = type.replace(/(\.v\d\w*\.[A-Z]\w*)\..*/, '$1')
    let desc = messageType(outer)
    for (const inner of type
      .slice(outer.length + 1)
      .split('.')
      .filter(Boolean))
      desc = desc?.nestedMessages.find((m) => m.name === inner)
    for (const name of names)
      assert.ok(
        desc?.fields.some((f) => f.name === name),
        `${type}.${name}`,
      )
  }
})
