import type { KubeObject } from '../cluster/index.ts'
import { defaultMeshConfig, type MeshConfig } from '../config/index.ts'
import { NODE_NAME } from './addresses.ts'
import { ownerDeployment } from './deployments.ts'
import type { EffectiveProxyConfig } from './effective-proxy-config.ts'
import { PROXY_IMAGE } from './images.ts'
import type { Container, EnvVar, Pod, Probe, Volume } from './pod-types.ts'

/** Which data plane a pod's agent runs. */
export type ProxyKind = 'outrigger' | 'envoy'
/** `outrigger up --proxy`: one kind for all pods, or each pod's annotation. */
export type ProxyChoice = ProxyKind | 'mixed-by-annotation'

/** Pod annotation that picks the data plane with `--proxy mixed-by-annotation`; without it: `outrigger`. */
const PROXY_ANNOTATION = 'outrigger.io/proxy'

export interface InjectionOptions {
  readonly proxy: ProxyChoice
  readonly clusterId: string
  /** Left out: Istio's defaults. */
  readonly meshConfig?: MeshConfig
  /** Left out: the pod's annotation alone. */
  readonly proxyConfig?: EffectiveProxyConfig
}

/** One worker a proxy: the pods of a mesh share one machine. Istio's own default is 2. */
const PROXY_CPU_LIMIT = '1'

const NEVER_INJECTED = ['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage']

/**
 * Istio's decision, in its order: host network, reserved namespaces, the pod's own word (label before annotation),
 * then the namespace's.
 */
export function wantsSidecar(pod: Pod, namespace: KubeObject | undefined): boolean {
  if (pod.spec.hostNetwork || NEVER_INJECTED.includes(pod.metadata.namespace ?? '')) return false
  const { labels = {}, annotations = {} } = pod.metadata
  const word = labels['sidecar.istio.io/inject'] ?? annotations['sidecar.istio.io/inject']
  const selector = namespace?.metadata.labels?.['istio-injection']
  if (selector === 'disabled') return false
  if (selector !== 'enabled') return word === 'true'
  return word === undefined ? true : ['true', 'y', 'yes', 'on', '1'].includes(word.toLowerCase())
}

/** The pod with `istio-init` and `istio-proxy` as Istio's injector adds them; unchanged when already injected. */
export function injectSidecar(pod: Pod, options: InjectionOptions): Pod {
  if (pod.metadata.annotations?.['sidecar.istio.io/status']) return pod
  const { metadata, spec } = pod
  const labels = metadata.labels ?? {}
  const probers: Record<string, unknown> = {}
  const apps = spec.containers.map((container) => withRewrittenProbes(container, probers))
  const proxy: Container = {
    name: 'istio-proxy',
    image: PROXY_IMAGE,
    args: ['agent', 'sidecar', ...proxyArgs(pod, options)],
    ports: [{ name: 'http-envoy-prom', containerPort: 15090, protocol: 'TCP' }],
    env: [
      ...proxyEnv(pod, options),
      { name: 'ISTIO_META_POD_PORTS', value: JSON.stringify(spec.containers.flatMap((c) => c.ports ?? [])) },
      { name: 'ISTIO_META_APP_CONTAINERS', value: spec.containers.map((c) => c.name).join(',') },
      ...(Object.keys(probers).length > 0 ? [{ name: 'ISTIO_KUBE_APP_PROBERS', value: JSON.stringify(probers) }] : []),
    ],
    startupProbe: readyProbe({ periodSeconds: 1, failureThreshold: 600 }),
    readinessProbe: readyProbe({ periodSeconds: 15, failureThreshold: 4 }),
    volumeMounts: PROXY_MOUNTS,
    securityContext: { runAsUser: 1337, runAsGroup: 1337 },
  }
  const init: Container = {
    name: 'istio-init',
    image: PROXY_IMAGE,
    args: iptablesArgs(pod),
    securityContext: { runAsUser: 0, runAsGroup: 0 },
  }
  const canonicalName =
    labels['service.istio.io/canonical-name'] ??
    labels['app.kubernetes.io/name'] ??
    labels.app ??
    ownerDeployment(pod) ??
    metadata.name
  const canonicalRevision =
    labels['service.istio.io/canonical-revision'] ?? labels['app.kubernetes.io/version'] ?? labels.version ?? 'latest'
  return {
    ...pod,
    metadata: {
      ...metadata,
      labels: {
        ...labels,
        'security.istio.io/tlsMode': 'istio',
        'service.istio.io/canonical-name': canonicalName,
        'service.istio.io/canonical-revision': canonicalRevision,
      },
      annotations: {
        'istio.io/rev': 'default',
        'kubectl.kubernetes.io/default-container': spec.containers[0]!.name,
        'kubectl.kubernetes.io/default-logs-container': spec.containers[0]!.name,
        'prometheus.io/scrape': 'true',
        'prometheus.io/port': '15020',
        'prometheus.io/path': '/stats/prometheus',
        ...metadata.annotations,
        'sidecar.istio.io/status': JSON.stringify({
          initContainers: ['istio-init'],
          containers: ['istio-proxy'],
          volumes: PROXY_VOLUMES.map((v) => v.name),
          imagePullSecrets: null,
          revision: 'default',
        }),
      },
    },
    spec: {
      ...spec,
      initContainers: [init, ...(spec.initContainers ?? [])],
      containers: [...apps, proxy],
      volumes: [...(spec.volumes ?? []), ...PROXY_VOLUMES],
    },
  }
}

/** What `outrigger agent` is told on its command line: Istio's `--domain`, and which data plane to run. */
export function proxyArgs(pod: Pod, options: InjectionOptions): string[] {
  const domain = `--domain=$(POD_NAMESPACE).svc.cluster.local`
  const level = pod.metadata.annotations?.['sidecar.istio.io/logLevel'] ?? 'warning'
  return [domain, `--proxyLogLevel=${level}`, '--proxyComponentLogLevel=misc:error', `--proxy=${proxyOf(pod, options)}`]
}

function proxyOf(pod: Pod, { proxy }: InjectionOptions): ProxyKind {
  if (proxy !== 'mixed-by-annotation') return proxy
  const word = pod.metadata.annotations?.[PROXY_ANNOTATION] ?? 'outrigger'
  if (word !== 'outrigger' && word !== 'envoy') {
    throw new Error(`annotation ${PROXY_ANNOTATION} must be outrigger or envoy, is "${word}"`)
  }
  return word
}

/** The injected command line of istio-init: Istio's defaults, or what the pod's annotations say. */
export function iptablesArgs(pod: Pod): string[] {
  const annotation = (name: string) => pod.metadata.annotations?.[`traffic.sidecar.istio.io/${name}`]
  const excluded = [annotation('excludeInboundPorts'), '15090', '15021', '15020'].filter((p) => p).join(',')
  const optional: [string, string | undefined][] = [
    ['-q', annotation('includeOutboundPorts')],
    ['-o', annotation('excludeOutboundPorts')],
    ['-c', annotation('excludeInterfaces')],
  ]
  const mode = pod.metadata.annotations?.['sidecar.istio.io/interceptionMode'] ?? 'REDIRECT'
  return [
    'iptables',
    ...['-p', '15001', '-z', '15006', '-u', '1337', '-m', mode],
    ...['-i', annotation('includeOutboundIPRanges') ?? '*', '-x', annotation('excludeOutboundIPRanges') ?? ''],
    ...['-b', annotation('includeInboundPorts') ?? '*', '-d', excluded],
    ...optional.flatMap(([flag, value]) => (value ? [flag, value] : [])),
  ]
}

/** The environment both sidecars and gateways get; names and values are Istio's. */
export function proxyEnv(pod: Pod, options: InjectionOptions): EnvVar[] {
  const { trustDomain, defaultConfig } = options.meshConfig ?? defaultMeshConfig()
  const { namespace, name } = pod.metadata
  const workload = ownerDeployment(pod) ?? name
  const field = (variable: string, fieldPath: string): EnvVar => ({
    name: variable,
    valueFrom: { fieldRef: { fieldPath } },
  })
  const owner = ownerDeployment(pod)
    ? `kubernetes://apis/apps/v1/namespaces/${namespace}/deployments/${workload}`
    : `kubernetes://apis/v1/namespaces/${namespace}/pods/${name}`
  return [
    { name: 'PILOT_CERT_PROVIDER', value: 'istiod' },
    { name: 'CA_ADDR', value: 'istiod.istio-system.svc:15012' },
    field('POD_NAME', 'metadata.name'),
    field('POD_NAMESPACE', 'metadata.namespace'),
    field('INSTANCE_IP', 'status.podIP'),
    field('SERVICE_ACCOUNT', 'spec.serviceAccountName'),
    field('HOST_IP', 'status.hostIP'),
    { name: 'ISTIO_CPU_LIMIT', value: pod.metadata.annotations?.['sidecar.istio.io/proxyCPULimit'] ?? PROXY_CPU_LIMIT },
    {
      name: 'PROXY_CONFIG',
      value: options.proxyConfig?.text ?? pod.metadata.annotations?.['proxy.istio.io/config'] ?? '{}',
    },
    ...(options.proxyConfig?.environment ?? []),
    { name: 'ISTIO_META_CLUSTER_ID', value: options.clusterId },
    { name: 'ISTIO_META_NODE_NAME', value: NODE_NAME },
    {
      name: 'ISTIO_META_INTERCEPTION_MODE',
      value: pod.metadata.annotations?.['sidecar.istio.io/interceptionMode'] ?? 'REDIRECT',
    },
    { name: 'ISTIO_META_WORKLOAD_NAME', value: workload },
    { name: 'ISTIO_META_OWNER', value: owner },
    { name: 'ISTIO_META_MESH_ID', value: defaultConfig.meshId || trustDomain },
    { name: 'TRUST_DOMAIN', value: trustDomain },
  ]
}

function readyProbe(times: { periodSeconds: number; failureThreshold: number }): Probe {
  return { httpGet: { path: '/healthz/ready', port: 15021 }, timeoutSeconds: 3, ...times }
}

/** Points the app's HTTP and TCP probes at the agent, which asks the app from inside the pod, where mTLS does not apply. */
function withRewrittenProbes(container: Container, probers: Record<string, unknown>): Container {
  const rewrite = (probe: Probe | undefined, word: string): Probe | undefined => {
    if (!probe || probe.exec) return probe
    const path = `/app-health/${container.name}/${word}`
    const { httpGet, tcpSocket, grpc, timeoutSeconds } = probe
    const byNumber = <T extends { port: number | string }>(get: T): T => ({
      ...get,
      port: container.ports?.find((p) => p.name === get.port)?.containerPort ?? get.port,
    })
    probers[path] = {
      ...(httpGet ? { httpGet: byNumber(httpGet) } : {}),
      ...(tcpSocket ? { tcpSocket: byNumber(tcpSocket) } : {}),
      ...(grpc ? { grpc } : {}),
      ...(timeoutSeconds ? { timeoutSeconds } : {}),
    }
    const { httpGet: _h, tcpSocket: _t, grpc: _g, ...times } = probe
    return { ...times, httpGet: { path, port: 15020 } }
  }
  const { readinessProbe, livenessProbe, startupProbe, ...rest } = container
  const probes = {
    readinessProbe: rewrite(readinessProbe, 'readyz'),
    livenessProbe: rewrite(livenessProbe, 'livez'),
    startupProbe: rewrite(startupProbe, 'startupz'),
  }
  return { ...rest, ...Object.fromEntries(Object.entries(probes).filter(([, probe]) => probe)) }
}

/** Volumes of a proxy container, sidecar or gateway. */
export const PROXY_VOLUMES: Volume[] = [
  { name: 'workload-socket', emptyDir: {} },
  { name: 'credential-socket', emptyDir: {} },
  { name: 'workload-certs', emptyDir: {} },
  { name: 'istio-envoy', emptyDir: { medium: 'Memory' } },
  { name: 'istio-data', emptyDir: {} },
  {
    name: 'istio-podinfo',
    downwardAPI: {
      items: [
        { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
        { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
      ],
    },
  },
  {
    name: 'istio-token',
    projected: {
      sources: [{ serviceAccountToken: { audience: 'istio-ca', expirationSeconds: 43200, path: 'istio-token' } }],
    },
  },
  { name: 'istiod-ca-cert', configMap: { name: 'istio-ca-root-cert' } },
]

export const PROXY_MOUNTS: NonNullable<Container['volumeMounts']> = [
  { name: 'workload-socket', mountPath: '/var/run/secrets/workload-spiffe-uds' },
  { name: 'credential-socket', mountPath: '/var/run/secrets/credential-uds' },
  { name: 'workload-certs', mountPath: '/var/run/secrets/workload-spiffe-credentials' },
  { name: 'istiod-ca-cert', mountPath: '/var/run/secrets/istio' },
  { name: 'istio-data', mountPath: '/var/lib/istio/data' },
  { name: 'istio-envoy', mountPath: '/etc/istio/proxy' },
  { name: 'istio-token', mountPath: '/var/run/secrets/tokens' },
  { name: 'istio-podinfo', mountPath: '/etc/istio/pod' },
]
