// The ServiceAccount, Deployment and Service that a managed Gateway gets, as istiod's deployment controller makes them,
// and the autoscaler and disruption budget that it gets when its parameters have them.
import { isDeepStrictEqual } from 'node:util'
import { parse } from 'yaml'
import { errorText } from '../../base/errors.ts'
import type { KubeObject, OwnerReference } from '../../cluster/index.ts'
import type { GatewayApiResource } from '../../config/index.ts'
import { MANAGED_LABEL, SERVICE_TYPE, workloadName } from './addresses.ts'
import { overlaid } from './overlay.ts'

/** What a platform is asked to keep there. */
export interface GatewayWorkload {
  /** `namespace/name` of the Gateway. */
  readonly gateway: string
  /**
   * ServiceAccount, Deployment, Service, and perhaps HorizontalPodAutoscaler and PodDisruptionBudget. The container's image
   * is `auto`: the platform's own proxy. None while there are problems: what is there stays as it is, as with istiod.
   */
  readonly objects: readonly KubeObject[]
  /** What of its parameters cannot be used. */
  readonly problems: readonly string[]
}

export interface WorkloadInputs {
  readonly gateway: GatewayApiResource<'Gateway'>
  readonly uid: string
  /** Listeners of the Gateway and of its ListenerSets. */
  readonly listeners: readonly { readonly name: string; readonly port: number; readonly protocol: string }[]
  /** Data of the ConfigMaps that have a word on it, one over the other. */
  readonly parameters: readonly Parameters[]
  /** What is wrong with the Gateway's `parametersRef` itself; null: nothing. */
  readonly parametersProblem: string | null
}

/** An overlay by object, each a YAML text: what `infrastructure.parametersRef` names, or the defaults of a class. */
export type Parameters = Readonly<Record<string, string>>

const SERVICE_ACCOUNT = 'gateway.istio.io/service-account'
const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'
const GATEWAY_CLASS = 'gateway.networking.k8s.io/gateway-class-name'
/** Annotations about the Gateway, not about what is made for it. */
const NOT_COPIED = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  'gateway.istio.io/name-override',
  SERVICE_ACCOUNT,
  'gateway.istio.io/controller-version',
])

export function gatewayWorkload(inputs: WorkloadInputs): GatewayWorkload {
  const { gateway, uid, listeners, parameters, parametersProblem } = inputs
  const { name: gatewayName, namespace, annotations: own } = gateway.metadata
  const { gatewayClassName, infrastructure, addresses } = gateway.spec
  const name = workloadName(gateway)
  const serviceAccountName = own[SERVICE_ACCOUNT] ?? name
  const annotations = Object.fromEntries(
    Object.entries(ofInfrastructure(infrastructure?.annotations) ?? own).filter(([key]) => !NOT_COPIED.has(key)),
  )
  const labels = {
    'istio.io/dataplane-mode': 'none',
    ...(ofInfrastructure(infrastructure?.labels) ?? gateway.metadata.labels),
    [MANAGED_LABEL]: 'istio.io-gateway-controller',
    [GATEWAY_CLASS]: gatewayClassName,
    [GATEWAY_NAME]: gatewayName,
  }
  const ownerReferences: OwnerReference[] = [
    { apiVersion: gateway.apiVersion, kind: 'Gateway', name: gatewayName, uid },
  ]
  const metadata = { name, namespace, labels, annotations, ownerReferences }
  const selector = { [GATEWAY_NAME]: gatewayName }
  const address = addresses?.[0]?.value
  const type = own[SERVICE_TYPE] ?? 'LoadBalancer'
  const problems: string[] = parametersProblem === null ? [] : [parametersProblem]
  const objects: KubeObject[] = [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { ...metadata, name: serviceAccountName } },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        selector: { matchLabels: selector },
        template: {
          metadata: {
            // Labels are the Gateway's to change, annotations are not.
            labels: {
              'service.istio.io/canonical-name': name,
              'service.istio.io/canonical-revision': 'latest',
              'sidecar.istio.io/inject': 'false',
              ...labels,
            },
            annotations: {
              ...annotations,
              'istio.io/rev': 'default',
              'prometheus.io/path': '/stats/prometheus',
              'prometheus.io/port': '15020',
              'prometheus.io/scrape': 'true',
            },
          },
          spec: {
            securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] },
            serviceAccountName,
            containers: [proxyContainer()],
          },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: {
        type,
        ipFamilyPolicy: 'PreferDualStack',
        selector,
        ...(address && type === 'LoadBalancer' ? { loadBalancerIP: address } : {}),
        ports: servicePorts(listeners),
      },
    },
  ]
  const has = (key: string): boolean => parameters.some((one) => one[key] !== undefined)
  if (has('horizontalPodAutoscaler')) objects.push(autoscaler(metadata))
  if (has('podDisruptionBudget')) objects.push(disruptionBudget(metadata, selector))
  for (const key of new Set(parameters.flatMap((one) => Object.keys(one)))) {
    if (!KEYS.includes(key)) problems.push(`unsupported overlay ${JSON.stringify(key)} (supported: ${KEYS.join(', ')})`)
  }
  const made = objects.map((object) =>
    parameters.reduce((one, overlay) => withParameters(one, overlay, problems), object),
  )
  return { gateway: `${namespace}/${gatewayName}`, objects: problems.length > 0 ? [] : made, problems }
}

/** Names of the Gateway API itself say what is whose: they are not for anybody to give. */
function ofInfrastructure(given: Readonly<Record<string, string>> | undefined): Record<string, string> | undefined {
  return (
    given && Object.fromEntries(Object.entries(given).filter(([key]) => !key.startsWith('gateway.networking.k8s.io/')))
  )
}

function autoscaler(metadata: KubeObject['metadata']): KubeObject {
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata,
    spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: metadata.name }, maxReplicas: 1 },
  }
}

function disruptionBudget(metadata: KubeObject['metadata'], matchLabels: Readonly<Record<string, string>>): KubeObject {
  return { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata, spec: { selector: { matchLabels } } }
}

function proxyContainer() {
  const probe = (times: Record<string, number>) => ({
    httpGet: { path: '/healthz/ready', port: 15021 },
    timeoutSeconds: 1,
    ...times,
  })
  return {
    name: 'istio-proxy',
    image: 'auto',
    securityContext: {
      capabilities: { drop: ['ALL'] },
      allowPrivilegeEscalation: false,
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsUser: 1337,
      runAsGroup: 1337,
      runAsNonRoot: true,
    },
    ports: [
      { name: 'metrics', containerPort: 15020, protocol: 'TCP' },
      { name: 'status-port', containerPort: 15021, protocol: 'TCP' },
      { name: 'http-envoy-prom', containerPort: 15090, protocol: 'TCP' },
    ],
    startupProbe: probe({ initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 30 }),
    readinessProbe: probe({ periodSeconds: 15, failureThreshold: 4 }),
  }
}

const MAX_PORT_NAME = 63

/** One port for each number; names are those of the listeners, made to fit and told apart. */
function servicePorts(listeners: WorkloadInputs['listeners']) {
  const ports = [{ name: 'status-port', port: 15021, protocol: 'TCP', appProtocol: 'tcp' }]
  const names = new Set(['status-port'])
  for (const { name, port, protocol } of listeners) {
    if (ports.some((one) => one.port === port)) continue
    const wanted = name.replaceAll('.', '-').slice(0, MAX_PORT_NAME)
    let unique = wanted
    for (let suffix = `-${port}`; names.has(unique); suffix += 'x') {
      unique = wanted.slice(0, MAX_PORT_NAME - suffix.length) + suffix
    }
    names.add(unique)
    ports.push({ name: unique, port, protocol: 'TCP', appProtocol: protocol.toLowerCase() })
  }
  return ports
}

/** Keys of the ConfigMap by kind. */
const PARAMETER_KEYS: Readonly<Record<string, string>> = {
  ServiceAccount: 'serviceAccount',
  Deployment: 'deployment',
  Service: 'service',
  HorizontalPodAutoscaler: 'horizontalPodAutoscaler',
  PodDisruptionBudget: 'podDisruptionBudget',
}
const KEYS: readonly string[] = Object.values(PARAMETER_KEYS).sort()
/** What of an object's metadata an overlay leaves alone. */
const FIXED = [
  'name',
  'namespace',
  'uid',
  'ownerReferences',
  'finalizers',
  'generateName',
  'creationTimestamp',
] as const

function withParameters(object: KubeObject, parameters: Parameters, problems: string[]): KubeObject {
  const key = PARAMETER_KEYS[object.kind]!
  const text = parameters[key]
  if (text === undefined) return object
  try {
    const result = overlaid(object, parse(text)) as KubeObject
    const before = object.metadata as unknown as Record<string, unknown>
    const after = result.metadata as unknown as Record<string, unknown>
    const changed = FIXED.find((field) => !isDeepStrictEqual(before[field], after[field]))
    if (changed) throw new Error(`metadata.${changed} cannot be changed`)
    return result
  } catch (error) {
    problems.push(`${key}: ${errorText(error).split('\n', 1)[0]}`)
    return object
  }
}
