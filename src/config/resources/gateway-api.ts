// Kubernetes Gateway API: the kinds that Istio reads.
import {
  bool,
  duration,
  type Infer,
  integer,
  list,
  map,
  message,
  oneOfNames,
  required,
  string,
  struct,
} from '../schema.ts'

const port = integer({ min: 1, max: 65535 })
const weight = integer({ min: 0, max: 1_000_000 })
const labelSelector = message({
  matchLabels: map(string()),
  matchExpressions: list(
    message({
      key: required(string()),
      operator: required(oneOfNames('In', 'NotIn', 'Exists', 'DoesNotExist')),
      values: list(string()),
    }),
  ),
})
export type GatewayApiLabelSelector = Infer<typeof labelSelector>

const objectReference = message({ group: string(), kind: string(), name: required(string()), namespace: string() })
export type ObjectReference = Infer<typeof objectReference>

/** What clients of a Gateway must show. */
const clientValidation = message({
  caCertificateRefs: required(list(objectReference)),
  mode: oneOfNames('AllowValidOnly', 'AllowInsecureFallback'),
})
export type ClientValidation = Infer<typeof clientValidation>

const namespaces = message({ from: oneOfNames('All', 'Selector', 'Same', 'None'), selector: labelSelector })
export type NamespaceChoice = Infer<typeof namespaces>

const listenerFields = {
  name: required(string({ minLength: 1, maxLength: 253 })),
  hostname: string({ maxLength: 253 }),
  protocol: required(string({ minLength: 1 })),
  tls: message({
    mode: oneOfNames('Terminate', 'Passthrough'),
    certificateRefs: list(objectReference),
    frontendValidation: clientValidation,
    options: map(string()),
  }),
  allowedRoutes: message({
    namespaces,
    kinds: list(message({ group: string(), kind: required(string()) })),
  }),
}
const listener = message({ ...listenerFields, port: required(port) })
export type GatewayApiListener = Infer<typeof listener>

export const gatewayClass = message({
  controllerName: required(string()),
  parametersRef: struct,
  description: string(),
})

export const gatewayApiGateway = message({
  gatewayClassName: required(string({ minLength: 1 })),
  listeners: required(list(listener)),
  addresses: list(message({ type: string(), value: string() })),
  infrastructure: message({
    labels: map(string()),
    annotations: map(string()),
    parametersRef: message({ group: string(), kind: required(string()), name: required(string({ minLength: 1 })) }),
  }),
  allowedListeners: message({ namespaces }),
  backendTLS: message({ clientCertificateRef: objectReference }),
  tls: message({
    frontend: message({
      default: message({ validation: clientValidation }),
      perPort: list(message({ port: required(port), tls: message({ validation: clientValidation }) })),
    }),
    backend: message({ clientCertificateRef: objectReference }),
  }),
})

const gatewayReference = message({
  group: string(),
  kind: string(),
  name: required(string({ minLength: 1 })),
  namespace: string(),
})
export const listenerSet = message({
  parentRef: required(gatewayReference),
  // Without a port: 80 for HTTP, 443 for HTTPS and TLS.
  listeners: required(list(message({ ...listenerFields, port }))),
})

const parentReference = message({
  group: string(),
  kind: string(),
  namespace: string(),
  name: required(string({ minLength: 1 })),
  sectionName: string(),
  port,
})
export type ParentReference = Infer<typeof parentReference>

const backendReference = {
  group: string(),
  kind: string(),
  name: required(string({ minLength: 1 })),
  namespace: string(),
  port,
}
const mirrorBackend = message(backendReference)
export type BackendReference = Infer<typeof mirrorBackend>

const headerValue = message({ name: required(string({ minLength: 1 })), value: required(string()) })
const headerModifier = message({ set: list(headerValue), add: list(headerValue), remove: list(string()) })
export type HeaderModifier = Infer<typeof headerModifier>
const pathModifier = message({
  type: required(oneOfNames('ReplaceFullPath', 'ReplacePrefixMatch')),
  replaceFullPath: string(),
  replacePrefixMatch: string(),
})

const filters = {
  requestHeaderModifier: headerModifier,
  responseHeaderModifier: headerModifier,
  requestMirror: message({
    backendRef: required(mirrorBackend),
    percent: integer({ min: 0, max: 100 }),
    fraction: message({ numerator: required(integer({ min: 0 })), denominator: integer({ min: 1 }) }),
  }),
  extensionRef: message({ group: required(string()), kind: required(string()), name: required(string()) }),
}

const httpFilter = message({
  type: required(
    oneOfNames(
      'RequestHeaderModifier',
      'ResponseHeaderModifier',
      'RequestMirror',
      'RequestRedirect',
      'URLRewrite',
      'CORS',
      'ExtensionRef',
    ),
  ),
  ...filters,
  requestRedirect: message({
    scheme: oneOfNames('http', 'https'),
    hostname: string(),
    path: pathModifier,
    port,
    statusCode: integer(),
  }),
  urlRewrite: message({ hostname: string(), path: pathModifier }),
  cors: message({
    allowOrigins: list(string()),
    allowCredentials: bool,
    allowMethods: list(string()),
    allowHeaders: list(string()),
    exposeHeaders: list(string()),
    maxAge: integer({ min: 0 }),
  }),
})
export type HttpRouteFilter = Infer<typeof httpFilter>

const valueMatch = message({
  type: oneOfNames('Exact', 'RegularExpression'),
  name: required(string({ minLength: 1 })),
  value: required(string()),
})
export type RouteValueMatch = Infer<typeof valueMatch>

const httpMatch = message({
  path: message({ type: oneOfNames('Exact', 'PathPrefix', 'RegularExpression'), value: string() }),
  headers: list(valueMatch),
  queryParams: list(valueMatch),
  method: string(),
})
export type HttpRouteMatch = Infer<typeof httpMatch>

const httpBackend = message({ ...backendReference, weight, filters: list(httpFilter) })
export type HttpBackendRef = Infer<typeof httpBackend>

const httpRule = message({
  name: string(),
  matches: list(httpMatch),
  filters: list(httpFilter),
  backendRefs: list(httpBackend),
  timeouts: message({ request: duration(), backendRequest: duration() }),
  retry: message({ codes: list(integer()), attempts: integer({ min: 0 }), backoff: duration() }),
  sessionPersistence: struct,
})
export type HttpRouteRule = Infer<typeof httpRule>

const common = { parentRefs: list(parentReference), hostnames: list(string()) }

export const httpRoute = message({ ...common, rules: list(httpRule) })

const grpcFilter = message({
  type: required(oneOfNames('RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'ExtensionRef')),
  ...filters,
})
const grpcRule = message({
  name: string(),
  matches: list(
    message({
      method: message({
        type: oneOfNames('Exact', 'RegularExpression'),
        service: string(),
        method: string(),
      }),
      headers: list(valueMatch),
    }),
  ),
  filters: list(grpcFilter),
  backendRefs: list(message({ ...backendReference, weight, filters: list(grpcFilter) })),
  sessionPersistence: struct,
})
export type GrpcRouteRule = Infer<typeof grpcRule>
export const grpcRoute = message({ ...common, rules: list(grpcRule) })

const l4Rule = message({
  name: string(),
  backendRefs: list(message({ ...backendReference, weight })),
})
export type L4RouteRule = Infer<typeof l4Rule>
export const tcpRoute = message({ parentRefs: list(parentReference), rules: list(l4Rule) })
export const tlsRoute = message({ ...common, rules: list(l4Rule) })

export const referenceGrant = message({
  from: required(list(message({ group: required(string()), kind: required(string()), namespace: required(string()) }))),
  to: required(list(message({ group: required(string()), kind: required(string()), name: string() }))),
})

const policyTarget = {
  group: string(),
  kind: required(string({ minLength: 1 })),
  name: required(string({ minLength: 1 })),
}
const policyTargetWithSection = message({ ...policyTarget, sectionName: string() })
export type PolicyTarget = Infer<typeof policyTargetWithSection>

export const backendTlsPolicy = message({
  targetRefs: required(list(policyTargetWithSection, { min: 1, max: 16 })),
  validation: required(
    message({
      caCertificateRefs: list(
        message({ group: string(), kind: required(string()), name: required(string({ minLength: 1 })) }),
      ),
      wellKnownCACertificates: string(),
      hostname: required(string({ minLength: 1, maxLength: 253 })),
      subjectAltNames: list(
        message({ type: required(oneOfNames('Hostname', 'URI')), hostname: string(), uri: string() }),
      ),
    }),
  ),
  options: map(string()),
})

export const backendTrafficPolicy = message({
  targetRefs: required(list(message(policyTarget), { min: 1, max: 16 })),
  retryConstraint: message({
    budget: message({ percent: integer({ min: 0, max: 100 }), interval: duration() }),
    minRetryRate: message({ count: integer({ min: 1 }), interval: duration() }),
  }),
  sessionPersistence: struct,
})
