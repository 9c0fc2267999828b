// Random configurations of the filters that ask another service, read tokens, or write what others read.

import fc from 'fast-check'
import { KEYS } from './tokens.ts'
import { merged, some } from './vocabulary.ts'

const percent = fc.constantFrom(0, 100, 100).map((numerator) => ({ numerator, denominator: 'HUNDRED' }))
const runtimePercent = percent.map((default_value) => ({ default_value, runtime_key: 'k' }))

/** What the service gets decides what it answers: `x-answer`, as of any upstream. */
const asked = fc.constantFrom<object>(
  { allowed_headers: { patterns: [{ exact: 'x-case' }, { exact: 'x-answer' }] } },
  {
    allowed_headers: { patterns: [{ exact: 'x-case' }, { prefix: 'x-a' }] },
    disallowed_headers: { patterns: [{ exact: 'x-a' }] },
  },
  { allowed_headers: { patterns: [{ exact: 'x-case' }] } },
)
const told = some({
  allowed_upstream_headers: fc.constant({ patterns: [{ exact: 'x-up' }, { prefix: 'x-envoy' }] }),
  allowed_upstream_headers_to_append: fc.constant({ patterns: [{ exact: 'x-a' }] }),
  allowed_client_headers: fc.constant({ patterns: [{ exact: 'location' }, { prefix: 'x-' }] }),
  allowed_client_headers_on_success: fc.constant({ patterns: [{ exact: 'x-up' }] }),
}).map((authorization_response) => ({ authorization_response }))
const bodyOfQuestion = merged(
  fc.constantFrom(5, 100_000).map((max_request_bytes) => ({ max_request_bytes })),
  some({ allow_partial_message: fc.boolean() }),
).map((with_request_body) => ({ with_request_body }))

export const extAuthz = merged(
  fc.tuple(asked, told, some({ path_prefix: fc.constant('/check') })).map(([question, answer, more]) => ({
    ...question,
    http_service: {
      server_uri: { uri: 'http://authz', cluster: 'authz', timeout: '0.3s' },
      authorization_request: { headers_to_add: [{ key: 'x-asked', value: '1' }] },
      ...answer,
      ...more,
    },
  })),
  fc.oneof({ weight: 2, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: bodyOfQuestion }),
  some({
    failure_mode_allow: fc.boolean(),
    failure_mode_allow_header_add: fc.boolean(),
    clear_route_cache: fc.boolean(),
    status_on_error: fc.constantFrom({ code: 'Forbidden' }, { code: 'BadGateway' }),
    filter_enabled: runtimePercent,
    stat_prefix: fc.constant('own'),
    charge_cluster_response_stats: fc.boolean(),
  }),
)
export const extAuthzRoute = fc.constantFrom<object>(
  { disabled: true },
  { check_settings: { disable_request_body_buffering: true } },
  { check_settings: { with_request_body: { max_request_bytes: 7, allow_partial_message: true } } },
)

const metadataRule = merged(
  fc.constantFrom<object>({ header: 'x-a' }, { header: 'x-up' }, { cookie: 'a' }),
  fc.constantFrom<object>(
    { on_header_present: { metadata_namespace: 'ns', key: 'k' } },
    { on_header_present: { metadata_namespace: 'ns', key: 'k', value: 'fixed' } },
    { on_header_missing: { metadata_namespace: 'ns', key: 'm', value: 'none' } },
    {
      on_header_present: { key: 'r', regex_value_rewrite: { pattern: { regex: 'o' }, substitution: 'u' } },
      on_header_missing: { key: 'n', value: '7', type: 'NUMBER' },
    },
  ),
)
/** Cookies are of requests alone, and stay where they are. */
const requestRule = fc
  .tuple(metadataRule, fc.boolean())
  .map(([rule, remove]) => ({ ...rule, remove: remove && !('cookie' in rule) }))
const responseRule = fc.tuple(metadataRule, fc.boolean()).map(([rule, remove]) => {
  const { cookie: _, ...rest } = rule
  return { header: 'x-up', ...rest, remove }
})
export const headerToMetadata = fc
  .tuple(fc.array(requestRule, { minLength: 1, maxLength: 2 }), fc.array(responseRule, { maxLength: 1 }))
  .map(([request_rules, response_rules]) => ({ request_rules, response_rules }))

export const setFilterState = fc
  .constantFrom('%REQ(x-a)%', 'fixed', '%PROTOCOL%', '%REQ(missing)%')
  .chain((inline_string) =>
    some({ skip_if_empty: fc.boolean(), read_only: fc.boolean() }).map((more) => ({
      on_request_headers: [
        {
          object_key: 'k',
          factory_key: 'envoy.string',
          format_string: { text_format_source: { inline_string } },
          ...more,
        },
      ],
    })),
  )

const session = fc
  .constantFrom<object>(
    {
      name: 'envoy.http.stateful_session.cookie',
      typed_config: cookieSession({ name: 'sess', ttl: '10s', path: '/a' }),
    },
    { name: 'envoy.http.stateful_session.cookie', typed_config: cookieSession({ name: 'sess' }) },
    {
      name: 'envoy.http.stateful_session.header',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState',
        name: 'x-session',
      },
    },
  )
  .map((session_state) => ({ session_state }))

function cookieSession(cookie: object): object {
  return {
    '@type': 'type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState',
    cookie,
  }
}
export const statefulSession = merged(session, some({ strict: fc.boolean() }))
export const statefulSessionRoute = fc.oneof(
  fc.constant({ disabled: true }),
  statefulSession.map((stateful_session) => ({ stateful_session })),
)

const provider = merged(
  fc.constant({ local_jwks: { inline_string: KEYS } }),
  some({
    issuer: fc.constantFrom('i', 'other'),
    audiences: fc.constant(['one']),
    forward: fc.boolean(),
    forward_payload_header: fc.constant('x-payload'),
    payload_in_metadata: fc.constant('jwt'),
    from_params: fc.constant(['token']),
    claim_to_headers: fc.constant([{ header_name: 'x-claim', claim_name: 'sub' }]),
    clear_route_cache: fc.boolean(),
  }),
)
const requirement = fc.constantFrom<object>(
  { provider_name: 'p' },
  { requires_any: { requirements: [{ provider_name: 'p' }, { allow_missing: {} }] } },
  { requires_any: { requirements: [{ provider_name: 'p' }, { allow_missing_or_failed: {} }] } },
  { provider_and_audiences: { provider_name: 'p', audiences: ['two'] } },
)
export const jwtAuthn = fc.tuple(provider, requirement, requirement, fc.boolean()).map(([p, first, named, cors]) => ({
  providers: { p },
  rules: [
    { match: { prefix: '/a' }, requires: first },
    { match: { prefix: '/b' }, requirement_name: 'n' },
  ],
  requirement_map: { n: named },
  bypass_cors_preflight: cors,
}))
export const jwtAuthnRoute = fc.constantFrom<object>({ disabled: true }, { requirement_name: 'n' })
