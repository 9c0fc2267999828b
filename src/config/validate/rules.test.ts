// What istiod (release of August 2026) said of these specs, beside neighbours that it takes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { parseResource } from '../parse.ts'

const API_VERSIONS: Readonly<Record<string, string>> = {
  AuthorizationPolicy: 'security.istio.io/v1',
  EnvoyFilter: 'networking.istio.io/v1alpha3',
}

/** `path: message`, warnings marked; none: accepted without a word. */
function problemsOf(kind: string, spec: string): string[] {
  const result = parseResource({
    apiVersion: API_VERSIONS[kind] ?? 'networking.istio.io/v1',
    kind,
    metadata: { name: 'x', namespace: 'default' },
    spec: parse(spec) as unknown,
  })
  const problems = result.ok ? result.value.warnings : result.problems
  return problems.map((p) => `${p.level === 'warning' ? '(warning) ' : ''}${p.path}: ${p.message}`)
}

const serviceEntry = (fields: string): string => `{hosts: [a.com], resolution: DNS, ${fields}}`
const http = (fields: string): string => `{hosts: [a.com], http: [{${fields}, route: [{destination: {host: a}}]}]}`
const hosts = (list: string): string => `{hosts: ${list}, gateways: [g], http: [{route: [{destination: {host: a}}]}]}`
const policy = (fields: string): string => `{host: a, trafficPolicy: {${fields}}}`
const tls = (fields: string): string => policy(`tls: {${fields}}`)
const maglev = (fields: string): string =>
  policy(`loadBalancer: {consistentHash: {useSourceIp: true, maglev: {${fields}}}}`)
const files = 'mode: SIMPLE, serverCertificate: /a, privateKey: /b'
const ingress = (protocol: string, fields: string): string =>
  `{ingress: [{port: {number: 80, protocol: ${protocol}, name: x}, ${fields}}]}`
const egress = (one: string, two: string): string =>
  `{egress: [{port: {${one}, protocol: HTTP}, hosts: ["./*"]}, {port: {${two}, protocol: HTTP}, hosts: ["a/*"]}]}`
const custom = (rule: string): string => `{action: CUSTOM, provider: {name: x}, rules: [${rule}]}`

/** Kind, a spec with its problem, and the nearest spec that is taken without a word. */
const CASES: readonly (readonly [kind: string, spec: string, problem: RegExp, taken?: string])[] = [
  [
    'ServiceEntry',
    '{hosts: [a.com, b.com], resolution: DNS, ports: [{number: 80, name: x, protocol: TCP}]}',
    /^spec\.hosts: multiple hosts provided with non-HTTP, non-TLS ports/,
    '{hosts: [a.com, b.com], resolution: DNS, ports: [{number: 80, name: x, protocol: TLS}]}',
  ],
  [
    'ServiceEntry',
    serviceEntry('ports: [{number: 80, name: x, protocol: HBONE}]'),
    /^spec\.ports\[0\]\.protocol: unsupported protocol: HBONE/,
    serviceEntry('ports: [{number: 80, name: x, protocol: grpc-web}]'),
  ],
  [
    'Gateway',
    '{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ["~/a.b"]}]}',
    /^spec\.servers\[0\]\.hosts\[0\]: "~" is not a namespace/,
    '{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ["A/a.b"]}]}',
  ],
  [
    'ServiceEntry',
    serviceEntry('endpoints: [{network: n}]'),
    /^spec\.endpoints\[0\]\.address: is required/,
    serviceEntry('endpoints: [{address: b.com}]'),
  ],
  ['ServiceEntry', '{hosts: [a.com], resolution: NONE, endpoints: []}', /^spec\.endpoints: must be empty/],
  [
    'WorkloadGroup',
    '{template: {address: "unix:///a", ports: {http: 80}}}',
    /^spec\.template\.ports: must not be set for a Unix socket/,
    '{template: {address: "unix:///a"}}',
  ],
  [
    'WorkloadEntry',
    '{network: n, labels: {a: "*.a"}}',
    /^spec\.labels/,
    '{address: 1.2.3.4, network: n, labels: {a: a}}',
  ],
  [
    'ServiceEntry',
    serviceEntry('ports: [{number: 80, name: x_y}]'),
    /^spec\.ports\[0\]\.name: invalid port name/,
    serviceEntry('ports: [{number: 80, name: X-y}]'),
  ],
  [
    'ServiceEntry',
    '{hosts: ["*.a.com"], resolution: DYNAMIC_DNS, location: MESH_EXTERNAL, ports: [{number: 80, name: x, protocol: HTTPS}]}',
    /protocol: only HTTP, TLS, GRPC and HTTP2/,
    '{hosts: ["*.a.com"], resolution: DYNAMIC_DNS, location: MESH_EXTERNAL, ports: [{number: 80, name: x, protocol: TLS}]}',
  ],
  [
    'ServiceEntry',
    '{hosts: ["*.a.com"], resolution: DNS}',
    /a wildcard host cannot be resolved/,
    '{hosts: ["*.a.com"], resolution: DNS, endpoints: [{address: b.com}]}',
  ],
  ['ServiceEntry', serviceEntry('exportTo: ["~", a]'), /cannot stand beside others/, serviceEntry('exportTo: ["~"]')],
  ['ServiceEntry', serviceEntry('exportTo: [default, "."]'), /^spec\.exportTo\[1\]: duplicate entries/],
  [
    'VirtualService',
    `{exportTo: [".", default], ${http('name: x').slice(1)}`,
    /^spec\.exportTo\[1\]: duplicate entries: "\." is namespace "default"/,
    `{exportTo: [".", other], ${http('name: x').slice(1)}`,
  ],
  ['VirtualService', `{exportTo: ["~"], ${http('name: x').slice(1)}`, /allowed in a ServiceEntry only/],
  [
    'VirtualService',
    hosts('["*.com", "*.foo.com"]'),
    /^spec\.hosts\[1\]: duplicate hosts in virtual service: \*\.com & \*\.foo\.com/,
    hosts('["*.foo.com", "*.bar.com"]'),
  ],
  ['VirtualService', hosts('["*.foo.com", a.foo.com]'), /duplicate hosts/, hosts('["*.foo.com", foo.com]')],
  [
    'VirtualService',
    http('headers: {response: {set: {Host: b}}}'),
    /^spec\.http\[0\]\.headers\.response\.set\["Host"\]: .*cannot set Host header/,
    http('headers: {request: {add: {":authority": b}}}'),
  ],
  ['VirtualService', http('headers: {request: {remove: [host]}}'), /remove\[0\]: invalid header "host"/],
  [
    'VirtualService',
    http('headers: {request: {set: {":path": b}}}'),
    /cannot have ":" prefix/,
    http('headers: {request: {set: {a.b: c}}}'),
  ],
  [
    'VirtualService',
    http('rewrite: {authority: b}, headers: {request: {set: {host: c}}}'),
    /authority header cannot be set multiple times: have "b", attempting to set "c"/,
    http('rewrite: {uri: /b}, headers: {request: {set: {host: c}}}'),
  ],
  [
    'VirtualService',
    http('retries: {attempts: 2, retryOn: "5xx, reset"}'),
    /retryOn: " reset" is not a valid retryOn policy/,
    http('retries: {attempts: 2, retryOn: "5xx,reset,503"}'),
  ],
  ['VirtualService', http('retries: {attempts: 2, retryOn: "599"}'), /"599" is not a valid retryOn policy/],
  ['VirtualService', http('timeout: 0s'), /^spec\.http\[0\]\.timeout: must be at least 1ms/, http('timeout: 1ms')],
  ['VirtualService', http('timeout: 1500us'), /only durations to ms precision/, http('timeout: 1.001s')],
  ['VirtualService', http('retries: {attempts: 1, backoff: 0s}'), /backoff: must be at least 1ms/],
  ['VirtualService', http('match: [{headers: {"@request.auth.claims.x": {exact: a}}}]'), /only supported for gateway/],
  [
    'VirtualService',
    http('match: [{sourceNamespace: a_b}]'),
    /is not a namespace/,
    http('match: [{sourceNamespace: a}]'),
  ],
  [
    'VirtualService',
    '{hosts: [a.com], http: [{match: [{uri: {exact: /b}}], redirect: {prefixRewrite: /a}}]}',
    /prefixRewrite: requires all URI matches/,
    '{hosts: [a.com], http: [{match: [{uri: {prefix: /b}}], redirect: {prefixRewrite: /a}}]}',
  ],
  [
    'VirtualService',
    '{hosts: [a.com], gateways: [a.b], http: [{route: [{destination: {host: a}}]}]}',
    /^\(warning\) spec\.gateways\[0\]: using legacy gatewayName/,
    '{hosts: [a.com], gateways: [b/a], http: [{route: [{destination: {host: a}}]}]}',
  ],
  [
    'VirtualService',
    '{hosts: [a.com], http: [{redirect: {uri: /a}, delegate: {name: x}}]}',
    /only one of redirect, delegate/,
    '{hosts: [a.com], http: [{timeout: 1s, delegate: {name: x}}]}',
  ],
  [
    'DestinationRule',
    policy('portLevelSettings: [{port: {number: 80}}]'),
    /portLevelSettings\[0\]: port traffic policy must have at least one field/,
    policy('portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]'),
  ],
  ['DestinationRule', policy('portLevelSettings: []'), /^spec\.trafficPolicy: must have at least one field/],
  [
    'DestinationRule',
    policy('connectionPool: {http: {http2KeepAlive: {interval: 1s}}}'),
    /http2KeepAlive\.timeout: is required/,
    policy('connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}'),
  ],
  [
    'DestinationRule',
    policy('tunnel: {targetHost: b, targetPort: 80}, proxyProtocol: {version: V1}'),
    /tunnel and proxyProtocol must not be set together/,
    policy('tunnel: {targetHost: "::1", targetPort: 80}'),
  ],
  [
    'DestinationRule',
    '{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ["*"]}',
    /^spec\.exportTo: a destination rule with workload selector cannot have exportTo beyond/,
    '{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [default]}',
  ],
  [
    'DestinationRule',
    tls('mode: SIMPLE, credentialName: "configmap://other/x"'),
    /credentialName: .*namespace must match the configuration namespace "default"/,
    tls('mode: SIMPLE, credentialName: "configmap://default/x"'),
  ],
  ['DestinationRule', tls('mode: SIMPLE, credentialName: "configmap://x"'), /has no namespace or no name/],
  [
    'DestinationRule',
    tls('mode: SIMPLE, insecureSkipVerify: true, credentialName: x'),
    /insecureSkipVerify: cannot stand beside credentialName/,
    tls('mode: MUTUAL, insecureSkipVerify: true, credentialName: x'),
  ],
  ['DestinationRule', tls('mode: SIMPLE, credentialName: x, caCrl: /a'), /caCrl: cannot stand beside credentialName/],
  ['DestinationRule', maglev('tableSize: 4'), /tableSize: must be a prime number/, maglev('tableSize: 65537')],
  ['DestinationRule', maglev(''), /tableSize: must be set for maglev/],
  ['DestinationRule', maglev('tableSize: 5000011'), /tableSize: must be less than 5000011/],
  [
    'DestinationRule',
    policy('loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}'),
    /^\(warning\) .*localityLbSetting: outlier detection policy must be provided/,
    policy('outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}'),
  ],
  [
    'DestinationRule',
    '{host: a, subsets: [{name: a.b}]}',
    /subset name is invalid/,
    '{host: a, subsets: [{name: a-b}]}',
  ],
  [
    'EnvoyFilter',
    '{configPatches: [{applyTo: CLUSTER, match: {proxy: {proxyVersion: "^1(?=x)"}}, patch: {operation: REMOVE}}]}',
    /configPatches\[0\]\.match\.proxy\.proxyVersion: .*not a regular expression of RE2/,
  ],
  ['Sidecar', '{}', /^spec: empty configuration provided/, '{outboundTrafficPolicy: {}}'],
  ['Sidecar', '{workloadSelector: {labels: {a: b}}}', /^spec: empty configuration provided/],
  [
    'Sidecar',
    ingress('HTTP', `tls: {${files}}`),
    /^spec\.ingress\[0\]\.tls: server cannot have TLS settings for non HTTPS\/TLS ports/,
    ingress('HTTPS', `tls: {${files}}`),
  ],
  ['Sidecar', ingress('TLS', `tls: {${files}, subjectAltNames: [x]}`), /tls\.subjectAltNames: is not supported/],
  ['Sidecar', ingress('TLS', 'tls: {mode: SIMPLE, credentialName: x}'), /tls\.credentialName: is not supported/],
  [
    'Sidecar',
    egress('number: 80', 'number: 80'),
    /egress\[1\]\.port\.number: .*another/,
    egress('number: 80', 'number: 81'),
  ],
  ['Sidecar', '{egress: [{hosts: [a/reviews]}]}', /short names/, '{egress: [{hosts: [a/reviews.com, ~a/b.com]}]}'],
  ['Sidecar', '{egress: [{hosts: ["!a/b.c"]}]}', /"!a" is not a namespace/],
  [
    'Sidecar',
    '{egress: [{hosts: [./a.b, ./a.b]}]}',
    /^\(warning\) spec\.egress\[0\]\.hosts\[1\]: duplicated egress host/,
  ],
  [
    'AuthorizationPolicy',
    custom('{from: [{source: {principals: [a]}}]}'),
    /^spec\.rules\[0\]\.from\[0\]\.source\.principals: is currently not supported with CUSTOM action/,
    custom('{from: [{source: {ipBlocks: [1.1.1.1]}}]}'),
  ],
  [
    'AuthorizationPolicy',
    custom('{when: [{key: "request.auth.claims[a]", values: [a]}]}'),
    /when\[0\]\.key: request\.auth\.claims\[a\] is currently not supported/,
    custom('{when: [{key: "request.headers[a]", values: [a]}]}'),
  ],
  ['AuthorizationPolicy', '{action: DENY}', /DENY without rules/, '{action: DENY, rules: [{}]}'],
  ['AuthorizationPolicy', '{action: DENY, rules: []}', /DENY without rules/],
  [
    'AuthorizationPolicy',
    '{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}',
    /^\(warning\) spec\.rules\[0\]: will deny all traffic to TCP ports/,
    '{action: DENY, rules: [{to: [{operation: {paths: [/a], ports: ["80"]}}]}]}',
  ],
  [
    'AuthorizationPolicy',
    '{rules: [{when: [{key: destination.port, values: [x]}]}]}',
    /"x" is not a port/,
    '{rules: [{when: [{key: destination.port, values: ["80"]}]}]}',
  ],
]

for (const [kind, spec, problem, taken] of CASES) {
  test(`${kind} ${spec}`, () => {
    const problems = problemsOf(kind, spec)
    assert.ok(
      problems.some((text) => problem.test(text)),
      `problems: ${problems.join('; ')}`,
    )
    if (taken !== undefined) assert.deepEqual(problemsOf(kind, taken), [], taken)
  })
}
