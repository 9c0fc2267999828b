// What `outrigger up` provides before any manifest: the node, the system namespaces, the control plane's Services and
// the ingress gateway, as Istio's demo profile installs them.
import type { KubeObject } from '../cluster/index.ts'
import { DNS_VIP, NODE_IP, NODE_NAME } from './addresses.ts'
import { PROXY_IMAGE } from './images.ts'
import { PROXY_MOUNTS, PROXY_VOLUMES } from './inject.ts'

/** Settings of the mesh: Istio's demo profile, with metrics as the installation charts have them. */
const MESH = `accessLogFile: /dev/stdout
defaultProviders:
  metrics:
  - prometheus
`

/** The mesh settings of a mesh that nobody gave others. */
export const MESH_SETTINGS: KubeObject = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'istio', namespace: 'istio-system' },
  data: { mesh: MESH, meshNetworks: 'networks: {}\n' },
}

interface SystemPort {
  readonly name: string
  readonly port: number
  readonly targetPort?: number
  readonly protocol?: 'TCP' | 'UDP'
}

const ISTIOD_PORTS: SystemPort[] = [
  { name: 'grpc-xds', port: 15010 },
  { name: 'https-dns', port: 15012 },
  { name: 'https-webhook', port: 443, targetPort: 15017 },
  { name: 'http-monitoring', port: 15014 },
]
const DNS_PORTS: SystemPort[] = [
  { name: 'dns', port: 53, protocol: 'UDP' },
  { name: 'dns-tcp', port: 53, protocol: 'TCP' },
]

export function systemObjects(): KubeObject[] {
  return [
    {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: NODE_NAME,
        labels: {
          'kubernetes.io/hostname': NODE_NAME,
          'topology.kubernetes.io/region': 'local',
          'topology.kubernetes.io/zone': 'local-a',
        },
      },
      spec: {},
      status: {
        addresses: [{ type: 'InternalIP', address: NODE_IP }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    },
    ...['default', 'kube-system', 'istio-system'].map((name) => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name },
    })),
    MESH_SETTINGS,
    ...controlPlaneService('kube-system', 'kube-dns', DNS_PORTS, { 'k8s-app': 'kube-dns' }, DNS_VIP),
    ...controlPlaneService('istio-system', 'istiod', ISTIOD_PORTS, { app: 'istiod', istio: 'pilot' }),
    ...ingressGateway(),
    ...gatewayClasses(),
  ]
}

/** Gateway classes that istiod creates. */
function gatewayClasses(): KubeObject[] {
  const classes = [
    ['istio', 'istio.io/gateway-controller', 'The default Istio GatewayClass'],
    ['istio-remote', 'istio.io/unmanaged-gateway', 'Remote to this cluster. Does not deploy or affect configuration.'],
  ] as const
  return classes.map(([name, controllerName, description]) => ({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'GatewayClass',
    metadata: { name },
    spec: { controllerName, description },
  }))
}

/** A Service without selector whose one endpoint is the node, where the control plane listens. */
function controlPlaneService(
  namespace: string,
  name: string,
  ports: readonly SystemPort[],
  labels: Record<string, string>,
  clusterIP?: string,
): KubeObject[] {
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels },
      spec: { ...(clusterIP ? { clusterIP } : {}), ports: ports.map((p) => ({ ...p, protocol: p.protocol ?? 'TCP' })) },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-node`, namespace, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: ports.map((p) => ({ name: p.name, port: p.targetPort ?? p.port, protocol: p.protocol ?? 'TCP' })),
      endpoints: [
        { addresses: [NODE_IP], conditions: { ready: true, serving: true, terminating: false }, nodeName: NODE_NAME },
      ],
    },
  ]
}

function ingressGateway(): KubeObject[] {
  const name = 'istio-ingressgateway'
  const namespace = 'istio-system'
  const labels = { app: name, istio: 'ingressgateway' }
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: `${name}-service-account`, namespace } },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels },
      spec: {
        type: 'LoadBalancer',
        selector: labels,
        ports: [
          { name: 'status-port', port: 15021, targetPort: 15021, protocol: 'TCP' },
          { name: 'http2', port: 80, targetPort: 8080, protocol: 'TCP' },
          { name: 'https', port: 443, targetPort: 8443, protocol: 'TCP' },
        ],
      },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace, labels },
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels, annotations: { 'sidecar.istio.io/inject': 'false' } },
          spec: {
            serviceAccountName: `${name}-service-account`,
            containers: [
              {
                name: 'istio-proxy',
                image: PROXY_IMAGE,
                ports: [8080, 8443, 15021, 15090].map((containerPort) => ({ containerPort, protocol: 'TCP' })),
                volumeMounts: PROXY_MOUNTS,
                readinessProbe: {
                  httpGet: { path: '/healthz/ready', port: 15021 },
                  periodSeconds: 2,
                  timeoutSeconds: 3,
                  failureThreshold: 30,
                },
              },
            ],
            volumes: PROXY_VOLUMES,
          },
        },
      },
    },
  ]
}
