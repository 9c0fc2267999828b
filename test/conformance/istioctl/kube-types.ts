// The kinds that the Kubernetes API of the recordings serves.

export interface ServedType {
  readonly group: string
  readonly plural: string
  readonly kind: string
  /** The first is the preferred one. */
  readonly versions: readonly string[]
  readonly namespaced: boolean
  readonly shortNames: readonly string[]
}

const NETWORKING = 'networking.istio.io'
const SECURITY = 'security.istio.io'
const GATEWAY_API = 'gateway.networking.k8s.io'
const ADMISSION = 'admissionregistration.k8s.io'
const STABLE = 'v1 v1beta1 v1alpha3'
const SHORT_NAMES: Readonly<Record<string, readonly string[]>> = {
  pods: ['po'],
  services: ['svc'],
  namespaces: ['ns'],
  configmaps: ['cm'],
  deployments: ['deploy'],
  replicasets: ['rs'],
  daemonsets: ['ds'],
  statefulsets: ['sts'],
}
const CLUSTER_WIDE = new Set([
  'CertificateSigningRequest',
  'CustomResourceDefinition',
  'GatewayClass',
  'IngressClass',
  'MutatingWebhookConfiguration',
  'Namespace',
  'Node',
  'ValidatingWebhookConfiguration',
])

function type(group: string, plural: string, kind: string, versions = 'v1'): ServedType {
  const shortNames = SHORT_NAMES[plural] ?? []
  return { group, plural, kind, versions: versions.split(' '), namespaced: !CLUSTER_WIDE.has(kind), shortNames }
}

export const SERVED_TYPES: readonly ServedType[] = [
  type('', 'pods', 'Pod'),
  type('', 'services', 'Service'),
  type('', 'namespaces', 'Namespace'),
  type('', 'configmaps', 'ConfigMap'),
  type('', 'secrets', 'Secret'),
  type('', 'nodes', 'Node'),
  type('', 'endpoints', 'Endpoints'),
  type('', 'serviceaccounts', 'ServiceAccount'),
  type('apps', 'deployments', 'Deployment'),
  type('apps', 'replicasets', 'ReplicaSet'),
  type('apps', 'daemonsets', 'DaemonSet'),
  type('apps', 'statefulsets', 'StatefulSet'),
  type('discovery.k8s.io', 'endpointslices', 'EndpointSlice'),
  type('networking.k8s.io', 'ingresses', 'Ingress'),
  type('networking.k8s.io', 'ingressclasses', 'IngressClass'),
  type(ADMISSION, 'mutatingwebhookconfigurations', 'MutatingWebhookConfiguration'),
  type(ADMISSION, 'validatingwebhookconfigurations', 'ValidatingWebhookConfiguration'),
  type('apiextensions.k8s.io', 'customresourcedefinitions', 'CustomResourceDefinition'),
  type('policy', 'poddisruptionbudgets', 'PodDisruptionBudget'),
  type('autoscaling', 'horizontalpodautoscalers', 'HorizontalPodAutoscaler', 'v2'),
  type('certificates.k8s.io', 'certificatesigningrequests', 'CertificateSigningRequest'),
  type('coordination.k8s.io', 'leases', 'Lease'),
  type(NETWORKING, 'virtualservices', 'VirtualService', STABLE),
  type(NETWORKING, 'destinationrules', 'DestinationRule', STABLE),
  type(NETWORKING, 'gateways', 'Gateway', STABLE),
  type(NETWORKING, 'serviceentries', 'ServiceEntry', STABLE),
  type(NETWORKING, 'sidecars', 'Sidecar', STABLE),
  type(NETWORKING, 'workloadentries', 'WorkloadEntry', STABLE),
  type(NETWORKING, 'workloadgroups', 'WorkloadGroup', STABLE),
  type(NETWORKING, 'envoyfilters', 'EnvoyFilter', 'v1alpha3'),
  type(NETWORKING, 'proxyconfigs', 'ProxyConfig', 'v1beta1'),
  type(SECURITY, 'peerauthentications', 'PeerAuthentication', 'v1 v1beta1'),
  type(SECURITY, 'requestauthentications', 'RequestAuthentication', 'v1 v1beta1'),
  type(SECURITY, 'authorizationpolicies', 'AuthorizationPolicy', 'v1 v1beta1'),
  type('telemetry.istio.io', 'telemetries', 'Telemetry', 'v1 v1alpha1'),
  type('extensions.istio.io', 'wasmplugins', 'WasmPlugin', 'v1alpha1'),
  type('extensions.istio.io', 'trafficextensions', 'TrafficExtension', 'v1alpha1'),
  type(GATEWAY_API, 'gateways', 'Gateway', 'v1 v1beta1'),
  type(GATEWAY_API, 'gatewayclasses', 'GatewayClass', 'v1 v1beta1'),
  type(GATEWAY_API, 'httproutes', 'HTTPRoute', 'v1 v1beta1'),
  type(GATEWAY_API, 'grpcroutes', 'GRPCRoute'),
  type(GATEWAY_API, 'tcproutes', 'TCPRoute', 'v1alpha2'),
  type(GATEWAY_API, 'tlsroutes', 'TLSRoute', 'v1 v1alpha3 v1alpha2'),
  type(GATEWAY_API, 'referencegrants', 'ReferenceGrant', 'v1 v1beta1'),
  type(GATEWAY_API, 'backendtlspolicies', 'BackendTLSPolicy', 'v1 v1alpha3'),
  type(GATEWAY_API, 'udproutes', 'UDPRoute', 'v1alpha2'),
  type(GATEWAY_API, 'listenersets', 'ListenerSet'),
]

/** The definitions of the kinds that are not Kubernetes' own, as `kubectl get crd` has them. */
export const DEFINITIONS = SERVED_TYPES.filter(({ group }) => group.endsWith('istio.io') || group === GATEWAY_API).map(
  ({ group, plural, kind, versions }) => ({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${group}`,
      ...(group === GATEWAY_API && {
        annotations: {
          'gateway.networking.k8s.io/bundle-version': 'v1.6.0',
          'gateway.networking.k8s.io/channel': 'experimental',
        },
      }),
    },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural, kind },
      versions: versions.map((name) => ({ name, served: true, storage: name === versions[0] })),
    },
    status: { conditions: [{ type: 'Established', status: 'True' }] },
  }),
)
