// Random valid resources of every kind, and settings of a mesh, for property-based tests.
import fc from 'fast-check'
import type { KubeObject } from '../../../cluster/index.ts'

const NAMESPACES = ['default', 'other', 'istio-system'] as const
const HOSTS = [
  'web',
  'web.default.svc.cluster.local',
  'ext.example.com',
  '*.example.com',
  'db.example.com',
  '*',
] as const
const WORKLOADS = [{ app: 'web' }, { app: 'client' }, { app: 'none' }] as const

const host = fc.constantFrom(...HOSTS)
const concreteHost = fc.constantFrom('web', 'ext.example.com', 'db.example.com')
const labels = fc.constantFrom(...WORKLOADS)
const exportTo = fc.option(fc.constantFrom(['*'], ['.'], ['other'], ['.', 'other']), { nil: undefined })
const seconds = fc.integer({ min: 1, max: 60 }).map((n) => `${n}s`)
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })

const loadBalancer = fc.oneof(
  fc.record({ simple: fc.constantFrom('RANDOM', 'ROUND_ROBIN', 'LEAST_REQUEST', 'PASSTHROUGH') }),
  fc.record({ consistentHash: fc.record({ httpHeaderName: fc.constantFrom('x-user', 'x-b') }) }),
  fc.record({
    simple: fc.constantFrom('LEAST_REQUEST', 'RANDOM'),
    zoneAwareLbSetting: fc.constantFrom(
      { enabled: false },
      { minClusterSize: 2, failover: [{ from: 'r1', to: 'r2' }] },
      { failoverPriority: ['topology.kubernetes.io/region'] },
    ),
  }),
  fc.record({
    simple: fc.constant('ROUND_ROBIN'),
    localityLbSetting: fc.constantFrom(
      { enabled: false },
      { failoverPriority: ['topology.kubernetes.io/region'] },
      { distribute: [{ from: 'r1/*', to: { 'r1/z1/*': 70, 'r2/*': 30 } }] },
    ),
  }),
)
const trafficPolicy = fc.record({
  loadBalancer: maybe(loadBalancer),
  outlierDetection: maybe(fc.record({ consecutive5xxErrors: fc.integer({ min: 0, max: 9 }), interval: seconds })),
  connectionPool: maybe(
    fc.record({ tcp: fc.record({ maxConnections: fc.integer({ min: 1, max: 99 }), connectTimeout: seconds }) }),
  ),
  tls: maybe(fc.record({ mode: fc.constantFrom('DISABLE', 'SIMPLE', 'ISTIO_MUTUAL') })),
  retryBudget: maybe(fc.record({ percent: maybe(fc.integer({ min: 1, max: 100 })), budgetInterval: maybe(seconds) })),
})

const destinationRule = fc.record({
  host,
  trafficPolicy: maybe(trafficPolicy),
  subsets: fc.uniqueArray(
    fc.record({ name: fc.constantFrom('v1', 'v2'), labels, trafficPolicy: maybe(trafficPolicy) }),
    {
      selector: (s) => s.name,
      maxLength: 2,
    },
  ),
  exportTo,
})

const destination = fc.record({
  host: concreteHost,
  subset: maybe(fc.constantFrom('v1', 'v2')),
  port: maybe(fc.record({ number: fc.constantFrom(80, 9000) })),
})
const httpMatch = fc.record({
  uri: maybe(fc.oneof(fc.record({ prefix: fc.constantFrom('/', '/a') }), fc.record({ exact: fc.constant('/b') }))),
  headers: maybe(fc.record({ 'end-user': fc.record({ exact: fc.constant('jason') }) })),
  sourceLabels: maybe(labels),
})
const httpRoute = fc.record({
  match: maybe(fc.array(httpMatch, { minLength: 1, maxLength: 2 })),
  route: fc.oneof(
    fc.tuple(fc.record({ destination })),
    fc.tuple(fc.record({ destination, weight: fc.constant(70) }), fc.record({ destination, weight: fc.constant(30) })),
  ),
  timeout: maybe(seconds),
  retries: maybe(fc.record({ attempts: fc.integer({ min: 0, max: 3 }) })),
})
const virtualService = fc.record({
  hosts: fc.uniqueArray(host, { minLength: 1, maxLength: 2 }),
  gateways: maybe(fc.constantFrom(['mesh'], ['gw0'], ['mesh', 'gw0'])),
  http: fc.array(httpRoute, { minLength: 1, maxLength: 3 }),
  exportTo,
})

const serviceEntry = fc
  .record({
    hosts: fc.uniqueArray(
      concreteHost.filter((h) => h !== 'web'),
      { minLength: 1, maxLength: 2 },
    ),
    location: fc.constantFrom('MESH_INTERNAL', 'MESH_EXTERNAL'),
    resolution: fc.constantFrom('STATIC', 'DNS', 'NONE'),
    ports: fc.constantFrom(
      [{ number: 80, name: 'http', protocol: 'HTTP' }],
      [
        { number: 80, name: 'http', protocol: 'HTTP' },
        { number: 9000, name: 'tcp', protocol: 'TCP' },
      ],
      [{ number: 9000, name: 'tls', protocol: 'TLS' }],
    ),
    addresses: maybe(fc.constantFrom(['240.0.0.1'], ['240.0.0.1', '240.0.1.0/24'])),
    endpoints: fc.uniqueArray(
      fc.record({
        address: fc.constantFrom('10.9.0.1', '10.9.0.2', '10.0.0.1'),
        locality: maybe(fc.constantFrom('r1/z1', 'r2/z2')),
        labels: maybe(labels),
      }),
      { selector: (e) => e.address, maxLength: 3 },
    ),
    exportTo,
  })
  .map((spec) => ({ ...spec, endpoints: spec.resolution === 'NONE' ? undefined : spec.endpoints }))

const sidecar = fc.record({
  workloadSelector: maybe(fc.record({ labels })),
  egress: fc.constantFrom(
    [{ hosts: ['./*'] }],
    [{ hosts: ['*/*'] }],
    [{ hosts: ['./web.default.svc.cluster.local', '~/*'] }],
    [
      { port: { number: 9000, protocol: 'TCP', name: 'tcp' }, bind: '127.0.0.1', hosts: ['*/*'] },
      { hosts: ['*/ext.example.com'] },
    ],
  ),
  outboundTrafficPolicy: maybe(fc.record({ mode: fc.constantFrom('REGISTRY_ONLY', 'ALLOW_ANY') })),
})

const gateway = fc.record({
  selector: fc.constant({ istio: 'ingressgateway' }),
  servers: fc.tuple(
    fc.record({
      port: fc.record({ number: fc.constantFrom(80, 8080), name: fc.constant('http'), protocol: fc.constant('HTTP') }),
      hosts: fc.constantFrom(['*'], ['ext.example.com'], ['default/*']),
    }),
  ),
})

const dynamicEntry = fc.record({
  hosts: fc.constant(['*.example.com']),
  location: fc.constant('MESH_EXTERNAL'),
  resolution: fc.constant('DYNAMIC_DNS'),
  ports: fc.constantFrom(
    [{ number: 80, name: 'http', protocol: 'HTTP' }],
    [{ number: 9000, name: 'tls', protocol: 'TLS' }],
  ),
  exportTo,
})

const passthroughGateway = fc.record({
  selector: fc.constant({ istio: 'ingressgateway' }),
  servers: fc.tuple(
    fc.record({
      port: fc.constant({ number: 15443, name: 'tls', protocol: 'TLS' }),
      tls: fc.constant({ mode: 'AUTO_PASSTHROUGH' }),
      hosts: fc.constantFrom(['*.local'], ['*.example.com'], ['*']),
    }),
  ),
})

const selector = maybe(fc.record({ matchLabels: labels }))
const extensionFields = {
  selector,
  priority: maybe(fc.integer({ min: -3, max: 3 })),
  match: maybe(
    fc.constantFrom(
      [{ mode: 'SERVER' }],
      [{ mode: 'CLIENT', ports: [{ number: 80 }] }],
      [{ ports: [{ number: 9000 }] }],
    ),
  ),
}
const moduleFields = {
  url: fc.constantFrom('oci://example.com/m:1', 'file:///opt/m.wasm'),
  type: maybe(fc.constantFrom('HTTP', 'NETWORK')),
  failStrategy: maybe(fc.constantFrom('FAIL_OPEN', 'FAIL_CLOSE', 'FAIL_RELOAD')),
  pluginConfig: maybe(fc.constant({ a: 1 })),
}
const wasmPlugin = fc.record({
  ...extensionFields,
  ...moduleFields,
  phase: maybe(fc.constantFrom('AUTHN', 'AUTHZ', 'STATS')),
})
const trafficExtension = fc.oneof(
  fc.record({ ...extensionFields, wasm: fc.record(moduleFields) }),
  fc.record({ ...extensionFields, lua: fc.constant({ inlineCode: 'function envoy_on_request(h) end' }) }),
)

const workloadEntry = fc.record({
  address: fc.constantFrom('10.9.0.1', '10.9.0.7'),
  labels,
  network: maybe(fc.constantFrom('n1', 'n2')),
  locality: maybe(fc.constantFrom('r1/z1', 'r2/z2')),
  serviceAccount: maybe(fc.constant('db')),
  weight: maybe(fc.integer({ min: 1, max: 9 })),
})
const workloadGroup = fc.record({ template: fc.record({ labels, serviceAccount: maybe(fc.constant('db')) }) })
const proxyConfig = fc.record({ selector, concurrency: maybe(fc.integer({ min: 0, max: 4 })) })

const telemetry = fc.record({
  selector,
  accessLogging: maybe(fc.constantFrom([{ providers: [{ name: 'envoy' }] }], [{ disabled: true }])),
  tracing: maybe(
    fc.constantFrom(
      [{ randomSamplingPercentage: 5, customTags: { t: { formatter: { value: '%PROTOCOL%' } } } }],
      [{ disableSpanReporting: true }],
    ),
  ),
})

const authorizationPolicy = fc.record({
  selector,
  action: fc.constantFrom('ALLOW', 'DENY', 'AUDIT'),
  rules: fc.array(
    fc.record({
      from: maybe(
        fc.constantFrom([{ source: { namespaces: ['default'] } }], [{ source: { ipBlocks: ['10.0.0.0/8'] } }]),
      ),
      to: maybe(
        fc.constantFrom([{ operation: { methods: ['GET'], paths: ['/a*'] } }], [{ operation: { ports: ['80'] } }]),
      ),
    }),
    { maxLength: 2 },
  ),
})
const requestAuthentication = fc.record({
  selector,
  jwtRules: fc.constantFrom([{ issuer: 'a', jwks: '{"keys":[{"kty":"oct","k":"AQ"}]}' }], []),
})

const peerAuthentication = fc.record({
  selector: maybe(fc.record({ matchLabels: labels })),
  mtls: fc.record({ mode: fc.constantFrom('STRICT', 'PERMISSIVE', 'DISABLE') }),
})

const envoyFilter = fc.record({
  priority: maybe(fc.integer({ min: -2, max: 2 })),
  workloadSelector: maybe(fc.record({ labels })),
  configPatches: fc.array(
    fc.constantFrom(
      { applyTo: 'CLUSTER', match: {}, patch: { operation: 'MERGE', value: { connect_timeout: '2s' } } },
      {
        applyTo: 'VIRTUAL_HOST',
        match: {},
        patch: { operation: 'MERGE', value: { request_headers_to_remove: ['x'] } },
      },
      {
        applyTo: 'LISTENER',
        match: { context: 'SIDECAR_INBOUND' },
        patch: { operation: 'MERGE', value: { stat_prefix: 'p' } },
      },
    ),
    { minLength: 1, maxLength: 2 },
  ),
})

const KINDS: [kind: string, apiVersion: string, spec: fc.Arbitrary<unknown>][] = [
  ['DestinationRule', 'networking.istio.io/v1', destinationRule],
  ['VirtualService', 'networking.istio.io/v1beta1', virtualService],
  ['ServiceEntry', 'networking.istio.io/v1', serviceEntry],
  ['Sidecar', 'networking.istio.io/v1', sidecar],
  ['Gateway', 'networking.istio.io/v1alpha3', gateway],
  ['PeerAuthentication', 'security.istio.io/v1', peerAuthentication],
  ['EnvoyFilter', 'networking.istio.io/v1alpha3', envoyFilter],
  ['ServiceEntry', 'networking.istio.io/v1', dynamicEntry],
  ['Gateway', 'networking.istio.io/v1', passthroughGateway],
  ['WorkloadEntry', 'networking.istio.io/v1', workloadEntry],
  ['WorkloadGroup', 'networking.istio.io/v1', workloadGroup],
  ['ProxyConfig', 'networking.istio.io/v1beta1', proxyConfig],
  ['WasmPlugin', 'extensions.istio.io/v1alpha1', wasmPlugin],
  ['TrafficExtension', 'extensions.istio.io/v1alpha1', trafficExtension],
  ['Telemetry', 'telemetry.istio.io/v1', telemetry],
  ['AuthorizationPolicy', 'security.istio.io/v1', authorizationPolicy],
  ['RequestAuthentication', 'security.istio.io/v1', requestAuthentication],
]

/** A valid resource of any kind; its name is given when it is known how many there are. */
const resource = fc.oneof(
  ...KINDS.map(([kind, apiVersion, spec]) =>
    fc.record({
      kind: fc.constant(kind),
      apiVersion: fc.constant(apiVersion),
      namespace: fc.constantFrom(...NAMESPACES),
      ageDays: fc.integer({ min: 0, max: 3 }),
      spec,
    }),
  ),
)

/** The resources of a mesh, each valid by itself but for a few. */
export const meshArbitrary = fc.array(resource, { minLength: 16, maxLength: 24 }).map((list) =>
  list.map(
    ({ kind, apiVersion, namespace, ageDays, spec }, index): KubeObject => ({
      apiVersion,
      kind,
      // A JSON round trip drops what is undefined, as the API server would.
      spec: JSON.parse(JSON.stringify(spec)),
      metadata: {
        name: kind === 'Gateway' && index % 2 === 0 ? 'gw0' : `r${index}`,
        namespace,
        creationTimestamp: new Date(Date.UTC(2026, 0, 10 - ageDays)).toISOString(),
      },
    }),
  ),
)

const selectors = fc.constantFrom(
  [],
  [{ matchLabels: { mesh: 'on' } }],
  [{ matchExpressions: [{ key: 'team', operator: 'In', values: ['a', 'b'] }] }, { matchLabels: { mesh: 'on' } }],
  [{ matchExpressions: [{ key: 'mesh', operator: 'DoesNotExist' }] }],
)
/** Settings of a mesh. */
export const settings = fc.record(
  {
    discoverySelectors: selectors,
    outboundTrafficPolicy: fc.constantFrom({ mode: 'REGISTRY_ONLY' }, { mode: 'ALLOW_ANY' }),
    defaultServiceExportTo: fc.constantFrom(['*'], ['.']),
    defaultVirtualServiceExportTo: fc.constantFrom(['*'], ['.']),
    defaultDestinationRuleExportTo: fc.constantFrom(['*'], ['.']),
    rootNamespace: fc.constantFrom('istio-system', 'other'),
    trustDomain: fc.constantFrom('cluster.local', 'td.example'),
    trustDomainAliases: fc.constantFrom([], ['old.example']),
    ingressControllerMode: fc.constantFrom('OFF', 'STRICT', 'DEFAULT'),
    localityLbSetting: fc.constantFrom({ enabled: false }, { failoverPriority: ['app'] }),
    enableAutoMtls: fc.boolean(),
    accessLogFile: fc.constantFrom('', '/dev/stdout'),
    defaultProviders: fc.constantFrom({ metrics: ['prometheus'] }, {}),
    defaultConfig: fc.constantFrom({ connectionSettings: { profile: 'EDGE' } }, { tracing: { sampling: 5 } }),
    serviceEntryVisibility: fc.constantFrom(
      { applyToSidecars: true, defaultVisibility: 'NAMESPACE' },
      {
        applyToSidecars: true,
        policies: [{ visibility: 'NONE', matchingRules: [{ namespaceSelector: { matchLabels: { mesh: 'on' } } }] }],
      },
    ),
  },
  { requiredKeys: [] },
)
