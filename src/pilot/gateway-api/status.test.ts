import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '../../cluster/index.ts'
import { generateSecrets } from '../sds/generate.ts'
import { mergeStatus } from '../status.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { configMapYaml, secretYaml } from './testing.ts'

interface Entry {
  readonly parentRef?: { readonly name: string }
  readonly ancestorRef?: { readonly kind: string; readonly name: string }
  readonly controllerName?: string
  readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[]
}
interface Status extends Partial<Entry> {
  readonly parents?: readonly Entry[]
  readonly ancestors?: readonly Entry[]
  readonly addresses?: readonly { readonly value: string }[]
  readonly listeners?: readonly (Entry & { readonly name: string; readonly attachedRoutes: number })[]
  readonly loadBalancer?: unknown
}

/** A mesh whose statuses are written back, as pilot does. */
class StatusMesh extends TestMesh {
  status(kind: string, name: string, namespace: string | undefined = 'default'): Status {
    const { statuses } = this.commit()
    for (const { kind: of, namespace: at, name: called, status } of statuses) {
      const object = this.store.get(of, at, called) as KubeObject
      const next = mergeStatus(object, status, '2026-01-01T00:00:00Z')
      if (next) this.store.putStatuses([{ kind: of, namespace: at, name: called, status: next }])
    }
    return (this.store.get(kind, namespace, name)?.status ?? {}) as Status
  }
}

const GATEWAY = 'Gateway.gateway.networking.k8s.io'
const ROUTE = 'HTTPRoute.gateway.networking.k8s.io'

const conditions = (entry: Partial<Entry> | undefined): string[] =>
  (entry?.conditions ?? []).map(({ type, status, reason }) => `${type} ${status} ${reason}`)

const gateway = (listeners: string, more = ''): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: infra}
spec: {gatewayClassName: istio, listeners: [${listeners}]${more}}
---
apiVersion: v1
kind: Service
metadata: {name: gw-istio, namespace: infra}
spec: {type: LoadBalancer, clusterIP: 10.96.0.9, selector: {app: gw}, ports: [{name: http, port: 80, targetPort: 8080}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: gw-istio-1, namespace: infra, labels: {kubernetes.io/service-name: gw-istio}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.0.9], conditions: {ready: true}}]
---`
const HTTP = '{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}'

const route = (name: string, spec: string, namespace = 'default'): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}, namespace: ${namespace}}
spec: ${spec}
---`
const TO_GATEWAY = 'parentRefs: [{name: gw, namespace: infra}]'

test('a Gateway says where it is served and how many routes each listener has', () => {
  const mesh = new StatusMesh(
    gateway(HTTP) +
      serviceYaml('a') +
      '---' +
      route('r', `{${TO_GATEWAY}, rules: [{backendRefs: [{name: a, port: 80}]}]}`),
  )
  const status = mesh.status(GATEWAY, 'gw', 'infra')
  assert.deepEqual(conditions(status), [
    'Accepted True Accepted',
    'Programmed True Programmed',
    'ResolvedRefs True ResolvedRefs',
  ])
  assert.deepEqual(status.addresses, [{ type: 'IPAddress', value: '203.0.113.7' }])
  assert.deepEqual(
    status.listeners?.map(({ name, attachedRoutes }) => [name, attachedRoutes]),
    [['http', 1]],
  )
  assert.deepEqual(conditions(mesh.status(ROUTE, 'r').parents?.[0]), [
    'Accepted True Accepted',
    'ResolvedRefs True ResolvedRefs',
  ])
  // What was written is no reason to write again.
  assert.deepEqual(mesh.commit().statuses, [])
  mesh.remove('EndpointSlice.discovery.k8s.io', 'gw-istio-1', 'infra')
  assert.deepEqual(conditions(mesh.status(GATEWAY, 'gw', 'infra'))[1], 'Programmed False AddressNotAssigned')
})

test('a route says why it does not attach, and which of its backends cannot be used', () => {
  const cases: [name: string, listener: string, spec: string, expected: string[]][] = [
    ['section', HTTP, '{parentRefs: [{name: gw, namespace: infra, sectionName: none}]}', ['NoMatchingParent']],
    ['port', HTTP, '{parentRefs: [{name: gw, namespace: infra, port: 81}]}', ['NoMatchingParent']],
    ['namespace', '{name: http, port: 80, protocol: HTTP}', `{${TO_GATEWAY}}`, ['NotAllowedByListeners']],
    [
      'kind',
      '{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}}',
      `{${TO_GATEWAY}}`,
      ['NotAllowedByListeners'],
    ],
    [
      'host',
      '{name: http, port: 80, hostname: a.example, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}',
      `{${TO_GATEWAY}, hostnames: [b.example]}`,
      ['NoMatchingListenerHostname'],
    ],
    ['service', HTTP, '{parentRefs: [{group: "", kind: Service, name: none}]}', ['NoMatchingParent']],
    [
      'missing',
      HTTP,
      `{${TO_GATEWAY}, rules: [{backendRefs: [{name: none, port: 80}]}]}`,
      ['Accepted', 'BackendNotFound'],
    ],
    [
      'foreign',
      HTTP,
      `{${TO_GATEWAY}, rules: [{backendRefs: [{name: b, namespace: other, port: 80}]}]}`,
      ['Accepted', 'RefNotPermitted'],
    ],
    [
      'bucket',
      HTTP,
      `{${TO_GATEWAY}, rules: [{backendRefs: [{kind: Bucket, group: example.com, name: b}]}]}`,
      ['Accepted', 'InvalidKind'],
    ],
    [
      'filter',
      HTTP,
      `{${TO_GATEWAY}, rules: [{filters: [{type: ExtensionRef, extensionRef: {group: g, kind: K, name: n}}]}]}`,
      ['Accepted', 'InvalidFilter'],
    ],
  ]
  for (const [name, listener, spec, expected] of cases) {
    const mesh = new StatusMesh(gateway(listener) + route('r', spec))
    const reasons = mesh.status(ROUTE, 'r').parents?.[0]?.conditions.map(({ reason }) => reason) ?? []
    assert.deepEqual(reasons.slice(0, expected.length), expected, name)
  }
})

test('a status of another controller stays, and a condition keeps its time until its status changes', () => {
  const object: KubeObject = {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name: 'r', namespace: 'default', generation: 3 },
    status: {
      parents: [
        { parentRef: { name: 'gw' }, controllerName: 'example.com/other', conditions: [] },
        {
          parentRef: { name: 'gw', namespace: 'default' },
          controllerName: 'istio.io/gateway-controller',
          conditions: [
            { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'x', lastTransitionTime: 'before' },
            { type: 'ResolvedRefs', status: 'False', reason: 'Bad', message: 'x', lastTransitionTime: 'before' },
          ],
        },
        { parentRef: { name: 'gone' }, controllerName: 'istio.io/gateway-controller', conditions: [] },
      ],
    },
  }
  const next = mergeStatus(
    object,
    {
      shape: 'references',
      list: 'parents',
      entries: [
        {
          reference: { name: 'gw' },
          controllerName: 'istio.io/gateway-controller',
          conditions: [
            { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'y' },
            { type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs', message: 'y' },
          ],
        },
      ],
    },
    'now',
  ) as { parents: { controllerName: string; conditions: Record<string, unknown>[] }[] }
  assert.deepEqual(
    next.parents.map(({ controllerName }) => controllerName),
    ['example.com/other', 'istio.io/gateway-controller'],
  )
  assert.deepEqual(
    next.parents[1]?.conditions.map((c) => [c.type, c.lastTransitionTime, c.observedGeneration]),
    [
      ['Accepted', 'before', 3],
      ['ResolvedRefs', 'now', 3],
    ],
  )
})

test('listeners of one port conflict by hostname and protocol; overlapping TLS names are told', () => {
  const tls = 'tls: {certificateRefs: [{name: cert}]}'
  const mesh = new StatusMesh(
    `${gateway(`
      {name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}, {name: c, port: 80, protocol: TCP},
      {name: wide, port: 443, protocol: HTTPS, hostname: "*.example", ${tls}},
      {name: narrow, port: 443, protocol: HTTPS, hostname: a.example, ${tls}}`)}${secretYaml('cert', 'infra')}`,
  )
  const { listeners = [] } = mesh.status(GATEWAY, 'gw', 'infra')
  const of = (name: string, type: string) =>
    conditions(listeners.find((listener) => listener.name === name)).find((text) => text.startsWith(type))
  assert.equal(of('a', 'Conflicted'), 'Conflicted False NoConflicts')
  assert.equal(of('b', 'Conflicted'), 'Conflicted True HostnameConflict')
  assert.equal(of('c', 'Accepted'), 'Accepted False ProtocolConflict')
  assert.equal(of('wide', 'OverlappingTLSConfig'), 'OverlappingTLSConfig True OverlappingHostnames')
  assert.equal(of('narrow', 'ResolvedRefs'), 'ResolvedRefs True ResolvedRefs')
})

test('a certificate that is missing, unreadable or not granted keeps its listener from being served', () => {
  const listener = (name: string, namespace = 'infra'): string =>
    `{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: ${name}, namespace: ${namespace}}]}}`
  const garbage =
    '\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: bad, namespace: infra}\nstringData: {tls.crt: x, tls.key: y}\n'
  const credentials = `${secretYaml('cert', 'certs')}${garbage}`
  for (const [listeners, accepted, reason] of [
    [listener('none'), 'True Accepted', 'InvalidCertificateRef'],
    [listener('bad'), 'True Accepted', 'InvalidCertificateRef'],
    [listener('cert', 'certs'), 'False NoValidCACertificate', 'RefNotPermitted'],
  ] as const) {
    const mesh = new StatusMesh(gateway(listeners) + credentials)
    assert.deepEqual(conditions(mesh.status(GATEWAY, 'gw', 'infra').listeners?.[0]), [
      `Accepted ${accepted}`,
      'Conflicted False NoConflicts',
      'Programmed False Invalid',
      `ResolvedRefs False ${reason}`,
    ])
    assert.deepEqual(mesh.push().gateways, [])
  }
})

test('a BackendTLSPolicy turns on TLS to its Service and says so for the Service and the Gateway before it', () => {
  const policy = (name: string, target: string, ca: string): string => `
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: ${name}}
spec:
  targetRefs: [{group: "", kind: Service, name: ${target}}]
  validation: {hostname: a.internal, caCertificateRefs: [{group: "", kind: ConfigMap, name: ${ca}}]}
`
  const mesh = new StatusMesh(
    gateway(HTTP) +
      route('r', `{${TO_GATEWAY}, rules: [{backendRefs: [{name: a, port: 80}]}]}`) +
      serviceYaml('a') +
      configMapYaml('ca', 'default') +
      policy('good', 'a', 'ca') +
      policy('late', 'a', 'ca') +
      policy('lost', 'none', 'ca') +
      policy('blind', 'a', 'none'),
  )
  const kind = 'BackendTLSPolicy.gateway.networking.k8s.io'
  const said = (name: string): string[] =>
    (mesh.status(kind, name).ancestors ?? []).map(
      (entry) => `${entry.ancestorRef?.kind} ${entry.ancestorRef?.name}: ${conditions(entry).join(', ')}`,
    )
  // The first by name of one age.
  assert.match(said('blind')[0]!, /Accepted False NoValidCACertificate, ResolvedRefs False InvalidCACertificateRef/)
  assert.match(said('good')[0]!, /^Service a: Accepted False Conflicted/)
  assert.match(said('lost')[0]!, /^Service none: Accepted False TargetNotFound/)
  mesh.remove(kind, 'blind')
  assert.deepEqual(said('good'), [
    'Service a: Accepted True Accepted, ResolvedRefs True ResolvedRefs',
    'Gateway gw: Accepted True Accepted, ResolvedRefs True ResolvedRefs',
  ])
  const push = mesh.push()
  const [rule] = [...push.destinationRules.lookup(push.services.byHost.get('a.default.svc.cluster.local')![0]!, 'x')]
  assert.deepEqual(rule?.rule.spec.trafficPolicy?.tls, {
    mode: 'SIMPLE',
    sni: 'a.internal',
    subjectAltNames: ['a.internal'],
    credentialName: 'configmap://default/ca',
  })
  // Clients of every namespace may read the authority.
  const anywhere = testProxy({ namespace: 'elsewhere' })
  const names = ['configmap://default/ca-cacert', 'configmap://default/other-cacert']
  assert.deepEqual(
    generateSecrets(anywhere, push, names).map(({ name }) => name),
    [names[0]],
  )
})

test('a ListenerSet adds listeners to a Gateway that allows it', () => {
  const set = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: extra}
spec: {parentRef: {name: gw, namespace: infra}, listeners: [{name: more, protocol: HTTP, hostname: more.example}]}
---`
  const toSet = route(
    'r',
    '{parentRefs: [{kind: ListenerSet, name: extra}], rules: [{backendRefs: [{name: a, port: 80}]}]}',
  )
  const kind = 'ListenerSet.gateway.networking.k8s.io'
  const closed = new StatusMesh(gateway(HTTP) + set + toSet)
  assert.deepEqual(conditions(closed.status(kind, 'extra')), [
    'Accepted False NotAllowed',
    'Programmed False NotAllowed',
  ])
  const open = new StatusMesh(gateway(HTTP, ', allowedListeners: {namespaces: {from: All}}') + set + toSet)
  const status = open.status(kind, 'extra')
  assert.deepEqual(conditions(status), ['Accepted True Accepted', 'Programmed True Programmed'])
  assert.equal(status.listeners?.[0]?.attachedRoutes, 1)
  assert.deepEqual(
    open.push().gateways.map(({ spec }) => spec.servers?.[0]?.hosts),
    [['default/more.example'], ['*/*']],
  )
})

test('an Ingress has the address of the ingress Service', () => {
  const mesh = new StatusMesh(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {kubernetes.io/ingress.class: istio}}
spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {type: LoadBalancer, clusterIP: 10.96.0.4, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}
`)
  assert.deepEqual(mesh.status('Ingress.networking.k8s.io', 'web').loadBalancer, { ingress: [{ ip: '203.0.113.9' }] })
})

test('a ServiceEntry without addresses is told those it was given; writing them changes nothing', () => {
  const mesh = new StatusMesh(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec: {hosts: [a.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
`)
  const kind = 'ServiceEntry.networking.istio.io'
  const { addresses = [] } = mesh.status(kind, 'ext')
  const service = mesh.push().services.byHost.get('a.example')?.[0]
  assert.deepEqual(
    addresses,
    service?.autoAllocatedAddresses.map((value) => ({ value, host: 'a.example' })),
  )
  assert.equal(addresses.length, 2)
  assert.deepEqual([...mesh.commit().changes.resources], [])
})
