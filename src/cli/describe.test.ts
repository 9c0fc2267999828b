import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MeshObject } from './access.ts'
import { type DescribeInput, describePod } from './describe.ts'

function object(
  kind: string,
  name: string,
  spec: unknown,
  labels: Record<string, string> = {},
  namespace = 'default',
): MeshObject {
  return { apiVersion: 'v1', kind, metadata: { name, namespace, labels }, spec }
}

const pod = object(
  'Pod',
  'reviews-v1-1',
  {
    containers: [
      { name: 'reviews', ports: [{ containerPort: 9080 }] },
      { name: 'istio-proxy', ports: [{ containerPort: 15090 }] },
    ],
  },
  { app: 'reviews', version: 'v1' },
)

const input: DescribeInput = {
  pod,
  services: [object('Service', 'reviews', { selector: { app: 'reviews' }, ports: [{ name: 'http', port: 9080 }] })],
  destinationRules: [
    object('DestinationRule', 'reviews', {
      host: 'reviews',
      subsets: [
        { name: 'v1', labels: { version: 'v1' } },
        { name: 'v2', labels: { version: 'v2' } },
      ],
    }),
  ],
  virtualServices: [
    object('VirtualService', 'reviews', {
      hosts: ['reviews'],
      http: [
        {
          route: [
            { destination: { host: 'reviews', subset: 'v1' }, weight: 90 },
            { destination: { host: 'reviews', subset: 'v2' }, weight: 10 },
          ],
        },
      ],
    }),
    object('VirtualService', 'bookinfo', {
      hosts: ['*'],
      gateways: ['gw'],
      http: [
        {
          match: [{ uri: { exact: '/a' } }, { uri: { prefix: '/static' } }],
          route: [{ destination: { host: 'reviews' } }],
        },
      ],
    }),
  ],
  peerAuthentications: [object('PeerAuthentication', 'default', { mtls: { mode: 'STRICT' } }, {}, 'istio-system')],
  gateways: [object('Gateway', 'gw', {})],
  authorizationPolicies: [object('AuthorizationPolicy', 'allow', { selector: { matchLabels: { app: 'reviews' } } })],
  ingressUrl: 'http://127.0.0.1:8080',
}

test('a pod is described with its service, routes, subsets, mTLS and exposure', () => {
  assert.equal(
    describePod(input),
    `Pod: reviews-v1-1
   Pod Revision: default
   Pod Ports: 9080 (reviews), 15090 (istio-proxy)
--------------------
Service: reviews
   Port: http 9080/HTTP targets pod port 9080
DestinationRule: reviews for "reviews"
   Matching subsets: v1
      (Non-matching subsets v2)
   No Traffic Policy
VirtualService: reviews
   Weight 90% to subset v1
   Weight 10% to subset v2
--------------------
Effective PeerAuthentication:
   Workload mTLS mode: STRICT
   Applied PeerAuthentication:
      default.istio-system
RBAC policies: ns[default]-policy[allow]
--------------------
Exposed on Ingress Gateway http://127.0.0.1:8080
VirtualService: bookinfo
   Match: /a, /static*
`,
  )
})

test('a pod outside the mesh and of no service says so', () => {
  const plain = object('Pod', 'tool', { containers: [{ name: 'tool' }] })
  const text = describePod({ ...input, pod: plain, gateways: [], peerAuthentications: [], authorizationPolicies: [] })
  assert.match(text, /WARNING: tool is not part of mesh; no Istio sidecar/)
  assert.match(text, /No Services select this pod\./)
  assert.match(text, /Workload mTLS mode: PERMISSIVE/)
})
