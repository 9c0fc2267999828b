// Generates src/api/gen from the .proto files that src/api/proto-roots.txt names and what they import.
// The Envoy v3 API comes from @grpc/grpc-js-xds (its deps/ folder), Istio's few messages from src/api/proto.
// Runs at install; does nothing when its inputs have not changed. Plain JavaScript, so that any Node can run it.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const out = join(root, 'src/api/gen')
const work = join(root, 'node_modules/.cache/outrigger-proto')
const bin = join(root, 'node_modules/.bin')
const deps = join(root, 'node_modules/@grpc/grpc-js-xds/deps')

if (!existsSync(deps)) {
  // A published package ships dist/ and needs no generator.
  console.log('generate-proto: @grpc/grpc-js-xds is not installed; nothing to generate')
  process.exit(0)
}

const searchPath = [
  join(root, 'src/api/proto'),
  ...['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map((d) => join(deps, d)),
]
const roots = readFileSync(join(root, 'src/api/proto-roots.txt'), 'utf8')
  .split('\n')
  .map((line) => line.trim())
  .filter((line) => line && !line.startsWith('#'))

/** Proto path -> file on disk, for the closure of `roots` under import. */
function closure() {
  const files = new Map()
  const queue = [...roots]
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (files.has(path) || path.startsWith('google/protobuf/')) continue
    const file = searchPath.map((dir) => join(dir, path)).find((candidate) => existsSync(candidate))
    if (!file) throw new Error(`generate-proto: ${path} is in none of ${searchPath.join(', ')}`)
    const text = patched(path, readFileSync(file, 'utf8'))
    files.set(path, text)
    for (const match of text.matchAll(/^ *import\s+(?:public\s+)?"([^"]+)";/gm)) queue.push(match[1])
  }
  return files
}

/** Fields of today's Envoy API that the package's protos are too old for: path -> [line after which they go, fields]. */
const LATER_FIELDS = {
  'envoy/config/cluster/v3/cluster.proto': [['message Cluster {', 'google.protobuf.Duration dns_jitter = 58;']],
  'envoy/config/core/v3/proxy_protocol.proto': [
    [
      'message ProxyProtocolConfig {',
      'message TlvEntry { uint32 type = 1; bytes value = 2; string format_string = 3; } repeated TlvEntry added_tlvs = 3;',
    ],
  ],
  'envoy/config/cluster/v3/circuit_breaker.proto': [
    ['import "envoy/type/v3/percent.proto";', 'import "google/protobuf/duration.proto";'],
    ['    message RetryBudget {', 'google.protobuf.Duration budget_interval = 3;'],
  ],
  'envoy/config/trace/v3/zipkin.proto': [
    ['import "google/protobuf/wrappers.proto";', 'import "envoy/config/core/v3/http_service.proto";'],
    [
      'message ZipkinConfig {',
      'enum TraceContextOption { USE_B3 = 0; USE_B3_WITH_W3C_PROPAGATION = 1; }',
      'TraceContextOption trace_context_option = 8; core.v3.HttpService collector_service = 9;',
    ],
  ],
  'envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto': [
    ['message HttpConnectionManager {', 'google.protobuf.Duration stream_flush_timeout = 59;'],
    ['  message Tracing {', 'string operation = 11; string upstream_operation = 12; bool no_context_propagation = 13;'],
  ],
  'envoy/extensions/upstreams/http/v3/http_protocol_options.proto': [
    ['import "envoy/config/core/v3/extension.proto";', 'import "envoy/config/common/matcher/v3/matcher.proto";'],
    [
      'message HttpProtocolOptions {',
      'message OutlierDetection { config.common.matcher.v3.MatchPredicate error_matcher = 1; }',
      'OutlierDetection outlier_detection = 8;',
    ],
  ],
  'envoy/extensions/wasm/v3/wasm.proto': [
    [
      'option (udpa.annotations.file_status).package_version_status = ACTIVE;',
      'enum FailurePolicy { UNSPECIFIED = 0; FAIL_RELOAD = 1; FAIL_CLOSED = 2; FAIL_OPEN = 3; }',
    ],
    ['message PluginConfig {', 'FailurePolicy failure_policy = 7;'],
  ],
  'envoy/config/trace/v3/opentelemetry.proto': [
    ['import "envoy/config/core/v3/http_service.proto";', 'import "google/protobuf/wrappers.proto";'],
    ['message OpenTelemetryConfig {', 'google.protobuf.UInt32Value max_cache_size = 6;'],
  ],
  'envoy/extensions/filters/http/compressor/v3/compressor.proto': [
    [
      '  message ResponseDirectionConfig {',
      'repeated uint32 uncompressible_response_codes = 4; bool status_header_enabled = 5; bool weaken_etag_on_compress = 6;',
    ],
  ],
  'envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto': [
    [
      'import "envoy/config/common/mutation_rules/v3/mutation_rules.proto";',
      'import "envoy/config/core/v3/base.proto";',
    ],
    [
      'message Mutations {',
      'repeated config.core.v3.KeyValueMutation query_parameter_mutations = 3;',
      'repeated config.common.mutation_rules.v3.HeaderMutation response_trailers_mutations = 4;',
      'repeated config.common.mutation_rules.v3.HeaderMutation request_trailers_mutations = 5;',
    ],
  ],
  'envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto': [
    ['import "envoy/config/core/v3/base.proto";', 'import "envoy/config/route/v3/route_components.proto";'],
    [
      'message LocalRateLimit {',
      'repeated config.route.v3.RateLimit rate_limits = 17; google.protobuf.UInt32Value max_dynamic_descriptors = 18 [(validate.rules).uint32 = {gte: 1}];',
    ],
  ],
  'envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto': [
    [
      'message RateLimit {',
      'config.core.v3.RuntimeFractionalPercent filter_enabled = 14;',
      'config.core.v3.RuntimeFractionalPercent filter_enforced = 15;',
      'config.core.v3.RuntimeFractionalPercent failure_mode_deny_percent = 16;',
      'repeated config.route.v3.RateLimit rate_limits = 17;',
    ],
  ],
  'envoy/extensions/filters/http/set_filter_state/v3/set_filter_state.proto': [
    ['message Config {', 'bool clear_route_cache = 2;'],
  ],
  'envoy/type/tracing/v3/custom_tag.proto': [['  oneof type {', 'string value = 6;']],
  'envoy/config/route/v3/route_components.proto': [
    [
      'import "envoy/config/core/v3/base.proto";',
      'import "envoy/config/common/mutation_rules/v3/mutation_rules.proto";',
      'import "envoy/config/core/v3/substitution_format_string.proto";',
    ],
    ['message VirtualHost {', 'google.protobuf.UInt64Value request_body_buffer_limit = 25;'],
    ['message Route {', 'google.protobuf.UInt64Value request_body_buffer_limit = 20;'],
    [
      'message RouteMatch {',
      'message CookieMatcher { string name = 1; type.matcher.v3.StringMatcher string_match = 2; bool invert_match = 3; }',
      'repeated CookieMatcher cookies = 17;',
    ],
    ['message RouteAction {', 'string path_rewrite = 45; google.protobuf.Duration flush_timeout = 42;'],
    ['  oneof host_rewrite_specifier {', 'string host_rewrite = 44;'],
    ['  oneof path_rewrite_specifier {', 'string path_rewrite = 10;'],
    [
      '  message RequestMirrorPolicy {',
      'repeated common.mutation_rules.v3.HeaderMutation request_headers_mutations = 7; string host_rewrite_literal = 8;',
    ],
    ['message DirectResponseAction {', 'core.v3.SubstitutionFormatString body_format = 3;'],
    ['message Tracing {', 'string operation = 5; string upstream_operation = 6;'],
    [
      'message RateLimit {',
      'message HitsAddend { google.protobuf.UInt64Value number = 1; string format = 2; } HitsAddend hits_addend = 5;',
      'bool apply_on_stream_done = 6;',
    ],
  ],
  'envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache.proto': [
    ['message DnsCacheConfig {', 'bool disable_dns_refresh_on_failure = 15;'],
  ],
  'envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.proto': [
    ['message FilterConfig {', 'bool allow_dynamic_host_from_filter_state = 4;'],
  ],
  'envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto': [
    ['import "envoy/config/core/v3/base.proto";', 'import "envoy/config/core/v3/backoff.proto";'],
    ['import "envoy/type/v3/hash_policy.proto";', 'import "envoy/type/v3/percent.proto";'],
    ['message TcpProxy {', 'config.core.v3.BackoffStrategy backoff_options = 18;'],
    ['message TcpProxy {', 'type.v3.Percent max_downstream_connection_duration_jitter_percentage = 20;'],
    ['  message TcpAccessLogOptions {', 'bool flush_access_log_on_start = 3;'],
  ],
  'envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto': [
    ['message CaresDnsResolverConfig {', 'google.protobuf.UInt64Value query_timeout_seconds = 6;'],
    ['message CaresDnsResolverConfig {', 'google.protobuf.UInt32Value query_tries = 7;'],
    ['message CaresDnsResolverConfig {', 'bool rotate_nameservers = 8;'],
  ],
}

/** What the stored protos lack for the rest to compile. */
function patched(path, text) {
  if (path === 'validate/validate.proto' && !/ignore_empty = 26/.test(text)) {
    // StringRules.ignore_empty is used by Envoy's protos but missing from this copy.
    return text.replace(/(message StringRules \{)/, '$1\n  optional bool ignore_empty = 26;\n')
  }
  // This tracer configuration imports protos that are not in the package, and we register no such tracer.
  if (path === 'envoy/config/trace/v3/trace.proto') {
    return text.replace(/^import public "envoy\/config\/trace\/v3\/opencensus\.proto";$/m, '')
  }
  // A collector may be named by collector_service alone.
  if (path === 'envoy/config/trace/v3/zipkin.proto') {
    text = text.replace(/ \[\(validate\.rules\)\.string = \{min_len: 1\}\]/g, '')
  }
  // An entry without value stands for any, which limits by descriptor may ask for.
  if (path === 'envoy/extensions/common/ratelimit/v3/ratelimit.proto') {
    text = text.replace(/string value = 2 \[\(validate\.rules\)\.string = \{min_len: 1\}\]/, 'string value = 2')
  }
  for (const [line, ...fields] of LATER_FIELDS[path] ?? []) {
    const found = new RegExp(`^${line.replace(/[{}().]/g, '\\$&')}\\r?$`, 'm').exec(text)
    if (!found) throw new Error(`generate-proto: ${path} has no line "${line}"`)
    const end = found.index + found[0].length
    text = `${text.slice(0, end)}\n  ${fields.join('\n  ')}${text.slice(end)}`
  }
  return text
}

const files = closure()
const hash = createHash('sha256')
for (const path of [...files.keys()].sort()) hash.update(path).update('\0').update(files.get(path))
hash.update(readFileSync(fileURLToPath(import.meta.url)))
hash.update(readFileSync(join(root, 'node_modules/@bufbuild/protoc-gen-es/package.json')))
const digest = hash.digest('hex')
const stamp = join(out, '.stamp')
if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) process.exit(0)

// Made beside the old one and swapped in at the end: whoever runs meanwhile keeps what it has.
const fresh = `${work}-out`
rmSync(work, { recursive: true, force: true })
rmSync(fresh, { recursive: true, force: true })
for (const [path, text] of files) {
  mkdirSync(dirname(join(work, path)), { recursive: true })
  writeFileSync(join(work, path), text)
}
writeFileSync(join(work, 'buf.yaml'), 'version: v2\n')
// js+dts: the `ts` target writes enums, which type stripping refuses.
writeFileSync(
  join(work, 'buf.gen.yaml'),
  JSON.stringify({
    version: 'v2',
    // One run of the plugin for all files: by default buf starts one for each folder, each a Node of its own.
    plugins: [
      {
        local: join(bin, 'protoc-gen-es'),
        out: fresh,
        opt: ['target=js+dts', 'import_extension=js'],
        strategy: 'all',
      },
    ],
  }),
)
const started = Date.now()
execFileSync(join(bin, 'buf'), ['generate'], {
  cwd: work,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
})
// Our fileDesc builds the same descriptors in a fraction of the time (src/api/file-desc.ts).
for (const path of files.keys()) {
  const file = join(fresh, path.replace(/\.proto$/, '_pb.js'))
  const own = `${'../'.repeat(path.split('/').length)}file-desc.ts`
  const text = readFileSync(file, 'utf8')
  const changed = text.replace(
    /^import \{ (.*)\bfileDesc\b(?:, )?(.*) \} from "(@bufbuild\/protobuf\/codegenv2)";$/m,
    (_, before, after, library) => {
      const others = `${before}${after}`.replace(/, $/, '')
      return `${others ? `import { ${others} } from "${library}";\n` : ''}import { fileDesc } from "${own}";`
    },
  )
  if (changed === text) throw new Error(`generate-proto: ${file} imports no fileDesc: has protoc-gen-es changed?`)
  writeFileSync(file, changed)
}
// Full message name -> generated module, for the registry that loads descriptors on first use (src/api/registry.ts).
const index = {}
for (const [path, text] of files) {
  const packageName = /^package\s+([\w.]+);/m.exec(text)?.[1]
  if (!packageName) continue
  // Top-level messages start in the first column in every file we use; only these appear in an Any.
  for (const match of text.matchAll(/^message (\w+)/gm))
    index[`${packageName}.${match[1]}`] = path.replace(/\.proto$/, '_pb.js')
}
writeFileSync(join(fresh, 'index.json'), JSON.stringify(index))
writeFileSync(join(fresh, '.stamp'), digest)
const old = `${work}-old`
if (existsSync(out)) renameSync(out, old)
renameSync(fresh, out)
rmSync(old, { recursive: true, force: true })
console.log(`generate-proto: ${files.size} files in ${((Date.now() - started) / 1000).toFixed(1)} s`)
