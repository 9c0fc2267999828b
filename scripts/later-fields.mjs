// What the Envoy API has gained since the protos that @grpc/grpc-js-xds carries. Field numbers are the API's own.

/** Fields of today's Envoy API that the package's protos are too old for: path -> [line after which they go, fields]. */
export const LATER_FIELDS = {
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
    ['message HttpConnectionManager {', 'bool http1_safe_max_connection_duration = 58;'],
    ['message HttpConnectionManager {', 'type.v3.Percent drain_timeout_jitter = 62;'],
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
    ['import "envoy/config/core/v3/extension.proto";', 'import "envoy/type/matcher/v3/string.proto";'],
    ['  message CommonDirectionConfig {', 'repeated type.matcher.v3.StringMatcher content_type_matcher = 4;'],
    ['message CompressorOverrides {', 'config.core.v3.TypedExtensionConfig compressor_library = 2;'],
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
  'envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata.proto': [
    ['message Config {', 'string stat_prefix = 3;'],
  ],
  'envoy/extensions/filters/http/stateful_session/v3/stateful_session.proto': [
    ['message StatefulSession {', 'string stat_prefix = 3;'],
    ['message StatefulSession {', 'uint32 status_on_strict_destination_not_found = 4;'],
  ],
  'envoy/type/http/v3/cookie.proto': [
    ['message Cookie {', 'repeated CookieAttribute attributes = 4;'],
    [
      'option (udpa.annotations.file_status).package_version_status = ACTIVE;',
      'message CookieAttribute { string name = 1 [(validate.rules).string = {min_len: 1 max_bytes: 16384}]; string value = 2 [(validate.rules).string = {max_bytes: 16384}]; }',
    ],
  ],
  'envoy/extensions/filters/http/set_filter_state/v3/set_filter_state.proto': [
    ['message Config {', 'bool clear_route_cache = 2;'],
  ],
  'envoy/type/tracing/v3/custom_tag.proto': [['  oneof type {', 'string value = 6;']],
  'envoy/config/common/mutation_rules/v3/mutation_rules.proto': [
    ['import "envoy/type/matcher/v3/regex.proto";', 'import "envoy/type/matcher/v3/string.proto";'],
    ['message HeaderMutation {', 'message RemoveOnMatch { type.matcher.v3.StringMatcher key_matcher = 1; }'],
    ['  oneof action {', 'RemoveOnMatch remove_on_match = 3;'],
  ],
  'envoy/config/core/v3/base.proto': [
    [
      'message KeyValueAppend {',
      'message Pair { string key = 1 [(validate.rules).string = {min_len: 1 max_bytes: 16384}]; google.protobuf.Value value = 2; }',
      'Pair record = 3;',
    ],
  ],
  'envoy/config/route/v3/route.proto': [
    [
      'message RouteConfiguration {',
      'string vhost_header = 18 [(validate.rules).string = {well_known_regex: HTTP_HEADER_NAME strict: false}];',
    ],
  ],
  'envoy/config/route/v3/route_components.proto': [
    [
      'import "envoy/config/core/v3/base.proto";',
      'import "envoy/config/common/mutation_rules/v3/mutation_rules.proto";',
      'import "envoy/config/core/v3/substitution_format_string.proto";',
    ],
    ['import "envoy/type/matcher/v3/metadata.proto";', 'import "envoy/type/matcher/v3/filter_state.proto";'],
    ['message RouteMatch {', 'repeated type.matcher.v3.FilterStateMatcher filter_state = 16;'],
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
      'repeated common.mutation_rules.v3.HeaderMutation request_headers_mutations = 7 [(validate.rules).repeated = {max_items: 1000}];',
      'string host_rewrite_literal = 8 [(validate.rules).string = {well_known_regex: HTTP_HEADER_VALUE strict: false}];',
    ],
    ['message DirectResponseAction {', 'core.v3.SubstitutionFormatString body_format = 3;'],
    ['message Tracing {', 'string operation = 5; string upstream_operation = 6;'],
    [
      'message RateLimit {',
      'message HitsAddend { google.protobuf.UInt64Value number = 1; string format = 2; bool is_negative_hits = 3; }',
      'HitsAddend hits_addend = 5; bool apply_on_stream_done = 6;',
    ],
  ],
  'envoy/extensions/common/ratelimit/v3/ratelimit.proto': [
    ['import "envoy/type/v3/ratelimit_unit.proto";', 'import "google/protobuf/wrappers.proto";'],
    ['message RateLimitDescriptor {', 'google.protobuf.UInt64Value hits_addend = 3; bool is_negative_hits = 4;'],
  ],
  'envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache.proto': [
    ['message DnsCacheConfig {', 'bool disable_dns_refresh_on_failure = 15;'],
  ],
  'envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.proto': [
    ['message FilterConfig {', 'bool allow_dynamic_host_from_filter_state = 4;'],
  ],
  'envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto': [
    [
      'message TlsInspector {',
      'google.protobuf.BoolValue enable_ja4_fingerprinting = 3;',
      'bool close_connection_on_client_hello_parsing_errors = 4;',
      'google.protobuf.UInt32Value max_client_hello_size = 5 [(validate.rules).uint32 = {lte: 16384 gt: 255}];',
    ],
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
