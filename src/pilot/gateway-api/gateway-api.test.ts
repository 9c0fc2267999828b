import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Route, VirtualHost } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { parseGatewayApi } from '../../config/index.ts'
import { generateListeners } from '../lds/index.ts'
import { generateRoutes } from '../rds/index.ts'
import { generateSecrets } from '../sds/generate.ts'
import { objects, serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { configMapYaml, secretYaml } from './testing.ts'

const ROUTER = testProxy({ type: 'router', ip: '10.1.0.9', namespace: 'infra', name: 'gw' })

/** A Gateway in `infra` with the Service that istiod would have deployed for it. */
const gateway = (listeners: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: infra}
spec: {gatewayClassName: istio, listeners: [${listeners}]}
---
apiVersion: v1
kind: Service
metadata: {name: gw-istio, namespace: infra}
spec: {clusterIP: 10.96.0.9, selector: {app: gw}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: infra, labels: {app: gw}}
spec: {containers: [{name: proxy}]}
status: {phase: Running, podIP: 10.1.0.9, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {team: web}}
---`

const HTTP_ALL = '{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}'

const httpRoute = (name: string, spec: string, namespace = 'default', age = ''): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}, namespace: ${namespace}${age ? `, creationTimestamp: "${age}"` : ''}}
spec: ${spec}
---`
const TO_GATEWAY = 'parentRefs: [{name: gw, namespace: infra}]'

function hostsOf(mesh: TestMesh): VirtualHost[] {
  return generateRoutes(ROUTER, mesh.push(), ['http.8080'])[0]!.virtualHosts
}

function summary(route: Route): string {
  const path = route.match?.pathSpecifier
  const text = path?.case === 'safeRegex' ? path.value.regex : String(path?.value)
  const { action } = route
  const specifier = action.case === 'route' ? action.value.clusterSpecifier : undefined
  return `${path?.case} ${text} → ${specifier?.case === 'cluster' ? specifier.value : action.case}`
}

const A = 'outbound|80||a.default.svc.cluster.local'

test('an HTTPRoute is served by the Gateway it names, on the port its Service leads to', () => {
  const mesh = new TestMesh(
    gateway(HTTP_ALL) +
      serviceYaml('a') +
      '---' +
      httpRoute('r', `{${TO_GATEWAY}, hostnames: [a.example], rules: [{backendRefs: [{name: a, port: 80}]}]}`),
  )
  assert.deepEqual(mesh.problems, [])
  assert.deepEqual(
    generateListeners(ROUTER, mesh.push()).map((listener) => listener.name),
    ['0.0.0.0_8080'],
  )
  const [host] = hostsOf(mesh)
  assert.deepEqual(host?.domains, ['a.example'])
  assert.deepEqual(host?.routes.map(summary), [`prefix / → ${A}`])
})

test('routes of several HTTPRoutes are ordered by how specific they are, then by age', () => {
  const rule = (match: string): string => `{matches: [${match}], backendRefs: [{name: a, port: 80}]}`
  const mesh = new TestMesh(
    gateway(HTTP_ALL) +
      serviceYaml('a') +
      '---' +
      httpRoute(
        'r',
        `{${TO_GATEWAY}, rules: [${rule('{path: {type: PathPrefix, value: /}}')}, ${rule('{path: {type: PathPrefix, value: /a}}')}]}`,
      ) +
      httpRoute(
        's',
        `{${TO_GATEWAY}, rules: [${rule('{path: {type: Exact, value: /}}')}, ${rule('{path: {type: PathPrefix, value: /a/b/}}')}]}`,
      ),
  )
  assert.deepEqual(hostsOf(mesh)[0]?.routes.map(summary), [
    `path / → ${A}`,
    `pathSeparatedPrefix /a/b → ${A}`,
    `pathSeparatedPrefix /a → ${A}`,
    `prefix / → ${A}`,
  ])
})

test('a listener takes routes of the namespaces it allows', () => {
  const attached = (namespaces: string): boolean => {
    const listener = `{name: http, port: 80, protocol: HTTP${namespaces}}`
    const mesh = new TestMesh(
      gateway(listener) +
        serviceYaml('a') +
        '---' +
        httpRoute('r', `{${TO_GATEWAY}, rules: [{backendRefs: [{name: a, port: 80}]}]}`),
    )
    return hostsOf(mesh).some((host) => host.routes.length > 0)
  }
  assert.equal(attached(''), false)
  assert.equal(attached(', allowedRoutes: {namespaces: {from: All}}'), true)
  assert.equal(attached(', allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: web}}}}'), true)
  assert.equal(attached(', allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: db}}}}'), false)
})

test('a backend in another namespace needs a ReferenceGrant; its share answers 500 without', () => {
  const yaml =
    gateway(HTTP_ALL) +
    httpRoute('r', `{${TO_GATEWAY}, rules: [{backendRefs: [{name: a, namespace: other, port: 80}]}]}`)
  const mesh = new TestMesh(yaml)
  assert.deepEqual(hostsOf(mesh)[0]?.routes.map(summary), ['prefix / → UnknownService'])
  mesh.put(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
`)
  assert.deepEqual(hostsOf(mesh)[0]?.routes.map(summary), ['prefix / → outbound|80||a.other.svc.cluster.local'])
})

test('no backend answers 500; a prefix rewritten to / keeps the rest of the path whole', () => {
  const mesh = new TestMesh(
    gateway(HTTP_ALL) +
      httpRoute(
        'r',
        `{${TO_GATEWAY}, rules: [
          {matches: [{path: {value: /x}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], backendRefs: [{name: a, port: 80}]},
          {}]}`,
      ),
  )
  const [rewritten, empty] = hostsOf(mesh)[0]!.routes
  assert.ok(rewritten?.action.case === 'route')
  assert.equal(rewritten.action.value.regexRewrite?.pattern?.regex, '^/x(/?)(.*)')
  assert.equal(rewritten.action.value.prefixRewrite, '')
  assert.ok(empty?.action.case === 'directResponse')
  assert.equal(empty.action.value.status, 500)
})

test("in the mesh a route of the service's namespace is for everybody, one of another namespace for itself", () => {
  const parent = 'parentRefs: [{kind: Service, group: "", name: a, namespace: default}]'
  const mesh = new TestMesh(
    serviceYaml('a') +
      '---' +
      httpRoute('producer', `{${parent}, rules: [{backendRefs: [{name: produced, port: 80}]}]}`) +
      httpRoute('consumer', `{${parent}, rules: [{backendRefs: [{name: consumed, port: 80}]}]}`, 'other'),
  )
  const target = (namespace: string): string | undefined => {
    const [config] = generateRoutes(testProxy({ namespace }), mesh.push(), ['80'])
    const host = config!.virtualHosts.find((one) => one.name === 'a.default.svc.cluster.local:80')
    return host && summary(host.routes[0]!)
  }
  assert.equal(target('third'), 'prefix / → outbound|80||produced.default.svc.cluster.local')
  assert.equal(target('other'), 'prefix / → outbound|80||consumed.other.svc.cluster.local')
})

test("a consumer's route keeps a VirtualService's wildcard off its host everywhere, also where it says nothing", () => {
  const parent = 'parentRefs: [{kind: Service, group: "", name: a, namespace: default}]'
  const wildcard = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: default}
spec: {hosts: ['*.local'], http: [{route: [{destination: {host: other.default.svc.cluster.local}}]}]}
---`
  const consumer = httpRoute('consumer', `{${parent}, rules: [{backendRefs: [{name: consumed, port: 80}]}]}`, 'other')
  const target = (...more: string[]): string => {
    const mesh = new TestMesh([`${serviceYaml('a')}---${wildcard}`, ...more].join(''))
    const [config] = generateRoutes(testProxy(), mesh.push(), ['80'])
    return summary(config!.virtualHosts.find((one) => one.name === 'a.default.svc.cluster.local:80')!.routes[0]!)
  }
  assert.equal(target(), 'prefix / → outbound|80||other.default.svc.cluster.local')
  assert.equal(target(consumer), `prefix / → ${A}`)
})

test('deleting a route takes its effect away', () => {
  const mesh = new TestMesh(
    gateway(HTTP_ALL) + httpRoute('r', `{${TO_GATEWAY}, rules: [{backendRefs: [{name: a, port: 80}]}]}`),
  )
  assert.equal(hostsOf(mesh)[0]?.name, '*:80')
  mesh.remove('HTTPRoute.gateway.networking.k8s.io', 'r')
  assert.equal(hostsOf(mesh)[0]?.name, 'blackhole:80')
})

test('an unknown field and a kind that is not translated are refused by name', () => {
  const mesh = new TestMesh(httpRoute('r', `{${TO_GATEWAY}, rules: [{backendRef: []}]}`))
  assert.deepEqual(mesh.problems, ['HTTPRoute r: spec.rules[0].backendRef unknown field'])
  mesh.problems.length = 0
  mesh.put(
    httpRoute(
      'r',
      `{${TO_GATEWAY}, rules: [
        {matches: [{path: {type: RegularExpression, value: "("}}, {path: {value: x}}]},
        {filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: "100%"}]}}]}]}`,
    ),
  )
  assert.deepEqual(
    mesh.problems.map((problem) => problem.split(' ')[2]),
    [
      'spec.rules[0].matches[0].path.value',
      'spec.rules[0].matches[1].path.value',
      'spec.rules[1].filters[0].requestHeaderModifier.set[0].value',
    ],
  )
  const other = new TestMesh(
    'apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\nmetadata: {name: u}\nspec: {}\n',
  )
  assert.deepEqual(other.problems, ['UDPRoute u: kind "UDPRoute" is not translated'])
})

test('an Ingress of our class is served on the ingress gateway, others are not', () => {
  const ingress = (className: string): string => `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: mesh}
spec: {controller: istio.io/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec:
  ingressClassName: ${className}
  rules:
  - host: a.example
    http: {paths: [{path: /app, pathType: Prefix, backend: {service: {name: a, port: {name: http}}}}]}
---`
  const routes = (className: string): string[] => {
    const mesh = new TestMesh(`${serviceYaml('a')}---${ingress(className)}`)
    const router = testProxy({ type: 'router', namespace: 'istio-system', labels: { istio: 'ingressgateway' } })
    const [config] = generateRoutes(router, mesh.push(), ['http.80'])
    return config!.virtualHosts.flatMap((host) => host.routes.map(summary))
  }
  assert.deepEqual(routes('mesh'), [`pathSeparatedPrefix /app → ${A}`])
  assert.deepEqual(routes('nginx'), [])
  // Without an IngressClass the mesh's mode decides, which by default serves the annotation alone.
  assert.deepEqual(routes('istio'), [])
})

test('a filter we do not have answers 500 instead of being skipped, and is named', () => {
  const rules = `[
    {matches: [{path: {value: /all}}], filters: [{type: ExtensionRef, extensionRef: {group: g, kind: K, name: n}}], backendRefs: [{name: a, port: 80}]},
    {backendRefs: [{name: a, port: 80}, {group: example.com, kind: Bucket, name: b}]}]`
  const route = httpRoute('r', `{${TO_GATEWAY}, rules: ${rules}}`)
  const mesh = new TestMesh(`${gateway(HTTP_ALL)}${serviceYaml('a')}---${route}`)
  const [refused, shared] = hostsOf(mesh)[0]!.routes
  assert.ok(refused?.action.case === 'directResponse')
  assert.equal(refused.action.value.status, 500)
  assert.ok(shared?.action.case === 'route' && shared.action.value.clusterSpecifier.case === 'weightedClusters')
  assert.deepEqual(
    shared.action.value.clusterSpecifier.value.clusters.map((c) => [c.name, c.weight]),
    [
      [A, 1],
      ['UnknownService', 1],
    ],
  )
  const parsed = parseGatewayApi(objects(route)[0])
  assert.ok(parsed.ok)
  assert.deepEqual(
    parsed.value.warnings.map(({ path, message }) => `${path} ${message}`),
    ['spec.rules[0].filters[0].extensionRef is not supported: its requests are answered 500'],
  )
})

test('clients of a Gateway are validated against its CA; a CA that may not be read lets none enter', () => {
  const yaml = (tls: string): string =>
    gateway(`
      {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}], tls: ${tls}, addresses: [`)
  const credentials = `${secretYaml('cert', 'infra')}${configMapYaml('ca', 'infra')}${configMapYaml('ca', 'other')}`
  const modes = (tls: string): string[] => {
    const { gateways } = new TestMesh(yaml(tls) + credentials).push()
    return gateways.map(({ spec }) => `${spec.servers?.[0]?.tls?.mode} ${spec.servers?.[0]?.tls?.caCertCredentialName}`)
  }
  const ca = '{validation: {caCertificateRefs: [{name: ca, group: "", kind: ConfigMap}]}}'
  const foreign = '{validation: {caCertificateRefs: [{name: ca, namespace: other, group: "", kind: ConfigMap}]}}'
  assert.deepEqual(modes('{}'), ['SIMPLE undefined'])
  assert.deepEqual(modes(`{frontend: {default: ${ca}}}`), ['MUTUAL configmap://infra/ca-cacert'])
  assert.deepEqual(modes(`{frontend: {default: ${foreign}}}`), [])
  assert.deepEqual(modes(`{frontend: {default: ${foreign}, perPort: [{port: 443, tls: ${ca}}]}}`), [
    'MUTUAL configmap://infra/ca-cacert',
  ])
})

test('a Secret of another namespace reaches the proxy of a Gateway that a ReferenceGrant allows it to', () => {
  const mesh = new TestMesh(
    gateway(
      '{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert, namespace: certs}, {name: own}]}}',
    ) + secretYaml('cert', 'certs'),
  )
  const wanted = ['kubernetes-gateway://certs/cert']
  assert.deepEqual(generateSecrets(ROUTER, mesh.push(), wanted), [])
  mesh.put(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: certs}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: infra}]
  to: [{group: "", kind: Secret, name: cert}]
`)
  const push = mesh.push()
  assert.equal(generateSecrets(ROUTER, push, wanted).length, 1)
  assert.equal(generateSecrets(testProxy({ type: 'router', namespace: 'else' }), push, wanted).length, 0)
})

test('headers may have names that every object has', () => {
  const spec = `{${TO_GATEWAY}, hostnames: [a.test], rules: [{
    matches: [{headers: [{name: __proto__, value: a}]}],
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: constructor, value: b}]}}],
    backendRefs: [{name: web, port: 80}]}]}`
  const mesh = new TestMesh(gateway(HTTP_ALL) + httpRoute('one', spec) + serviceYaml('web'))
  const route = hostsOf(mesh)[0]!.routes[0]!
  assert.deepEqual(
    route.match!.headers.map(({ name }) => name),
    ['__proto__'],
  )
  assert.deepEqual(
    route.requestHeadersToAdd.map(({ header }) => `${header!.key}: ${header!.value}`),
    ['constructor: b'],
  )
})
