// What the embedded cluster accepts of Kubernetes' own kinds. Fields that steer what one machine cannot vary
// (scheduling, image pulls) are accepted without effect, as a one-node cluster accepts them; anything else unknown is an error.
import { fail, type Problem } from '../base/errors.ts'
import type { KubeObject } from '../cluster/index.ts'
import { schema } from '../config/index.ts'

const { bool, integer, list, map, message, oneOfNames, required, string, struct } = schema
type AnyField = schema.Field<unknown>

const intOrString: schema.Field<number | string> = {
  parse(value, path, problems) {
    if (typeof value === 'string' || (typeof value === 'number' && Number.isInteger(value))) return value
    problems.error(path, 'must be an integer or a string')
    return undefined
  },
}
/** Accepted and kept, without effect on one machine. */
const noEffect: AnyField = { parse: (value) => value }
const noEffects = (...names: string[]): Record<string, AnyField> =>
  Object.fromEntries(names.map((name) => [name, noEffect]))
const strings = map(string())
const port = integer({ min: 1, max: 65535 })

const metadataFields = {
  name: string({ maxLength: 253, pattern: /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/ }),
  namespace: string(),
  labels: strings,
  annotations: strings,
  ...noEffects(
    'generateName',
    'uid',
    'resourceVersion',
    'generation',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'finalizers',
    'managedFields',
    'ownerReferences',
    'selfLink',
  ),
}
const metadata = message({ ...metadataFields, name: required(metadataFields.name) })

const selectorRequirement = message({ key: required(string()), operator: required(string()), values: list(string()) })
const labelSelector = message({ matchLabels: strings, matchExpressions: list(selectorRequirement) })

const keySelector = message({ name: required(string()), key: required(string()), optional: bool })
const fieldRef = message({ fieldPath: required(string()), apiVersion: string() })
const envVar = message({
  name: required(string({ minLength: 1 })),
  value: string(),
  valueFrom: message({
    fieldRef,
    configMapKeyRef: keySelector,
    secretKeyRef: keySelector,
    resourceFieldRef: message({ resource: required(string()), divisor: intOrString, containerName: string() }),
  }),
})
const sourceRef = message({ name: required(string()), optional: bool })
const probe = message({
  httpGet: message({
    path: string(),
    port: required(intOrString),
    host: string(),
    scheme: string(),
    httpHeaders: list(message({ name: required(string()), value: required(string()) })),
  }),
  tcpSocket: message({ port: required(intOrString), host: string() }),
  exec: message({ command: required(list(string(), { min: 1 })) }),
  initialDelaySeconds: integer({ min: 0 }),
  timeoutSeconds: integer({ min: 1 }),
  periodSeconds: integer({ min: 1 }),
  successThreshold: integer({ min: 1 }),
  failureThreshold: integer({ min: 1 }),
  terminationGracePeriodSeconds: integer({ min: 0 }),
})
const container = message({
  name: required(string({ pattern: /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/ })),
  image: string(),
  command: list(string()),
  args: list(string()),
  workingDir: string(),
  env: list(envVar),
  envFrom: list(message({ prefix: string(), configMapRef: sourceRef, secretRef: sourceRef })),
  ports: list(
    message({
      name: string(),
      containerPort: required(port),
      protocol: oneOfNames('TCP', 'UDP', 'SCTP'),
      hostPort: port,
      hostIP: string(),
    }),
  ),
  volumeMounts: list(
    message({
      name: required(string()),
      mountPath: required(string({ minLength: 1 })),
      readOnly: bool,
      subPath: string(),
    }),
  ),
  readinessProbe: probe,
  livenessProbe: probe,
  startupProbe: probe,
  securityContext: message({
    runAsUser: integer({ min: 0 }),
    runAsGroup: integer({ min: 0 }),
    ...noEffects(
      'allowPrivilegeEscalation',
      'capabilities',
      'privileged',
      'readOnlyRootFilesystem',
      'runAsNonRoot',
      'seccompProfile',
      'seLinuxOptions',
      'appArmorProfile',
      'procMount',
    ),
  }),
  ...noEffects(
    'imagePullPolicy',
    'resources',
    'terminationMessagePath',
    'terminationMessagePolicy',
    'stdin',
    'stdinOnce',
    'tty',
    'resizePolicy',
  ),
})
const items = list(message({ key: required(string()), path: required(string()), mode: integer() }))
const downwardItems = list(message({ path: required(string()), fieldRef, resourceFieldRef: noEffect, mode: integer() }))
const mapProjection = { name: string(), items, optional: bool }
const volume = message({
  name: required(string()),
  emptyDir: message({ medium: string(), sizeLimit: intOrString }),
  hostPath: message({ path: required(string()), type: string() }),
  configMap: message({ ...mapProjection, defaultMode: integer() }),
  secret: message({ secretName: required(string()), items, optional: bool, defaultMode: integer() }),
  downwardAPI: message({ items: downwardItems, defaultMode: integer() }),
  projected: message({
    sources: list(
      message({
        serviceAccountToken: message({
          audience: string(),
          expirationSeconds: integer({ min: 600 }),
          path: required(string()),
        }),
        configMap: message(mapProjection),
        secret: message(mapProjection),
        downwardAPI: message({ items: downwardItems }),
      }),
    ),
    defaultMode: integer(),
  }),
})
const podSpec = message({
  containers: required(list(container, { min: 1 })),
  initContainers: list(container),
  volumes: list(volume),
  serviceAccountName: string(),
  serviceAccount: string(),
  restartPolicy: oneOfNames('Always', 'OnFailure', 'Never'),
  terminationGracePeriodSeconds: integer({ min: 0 }),
  securityContext: message({
    runAsUser: integer({ min: 0 }),
    runAsGroup: integer({ min: 0 }),
    ...noEffects('fsGroup', 'runAsNonRoot', 'seccompProfile', 'supplementalGroups', 'sysctls', 'seLinuxOptions'),
  }),
  hostname: string(),
  ...noEffects(
    'affinity',
    'automountServiceAccountToken',
    'dnsConfig',
    'dnsPolicy',
    'enableServiceLinks',
    'imagePullSecrets',
    'nodeName',
    'nodeSelector',
    'preemptionPolicy',
    'priority',
    'priorityClassName',
    'schedulerName',
    'shareProcessNamespace',
    'subdomain',
    'tolerations',
    'topologySpreadConstraints',
  ),
})
const podTemplate = message({ metadata: message(metadataFields), spec: required(podSpec) })

const service = message({
  type: oneOfNames('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
  clusterIP: string(),
  clusterIPs: list(string()),
  selector: strings,
  ports: list(
    message({
      name: string(),
      port: required(port),
      protocol: oneOfNames('TCP', 'UDP', 'SCTP'),
      targetPort: intOrString,
      nodePort: port,
      appProtocol: string(),
    }),
  ),
  externalName: string(),
  publishNotReadyAddresses: bool,
  ...noEffects(
    'allocateLoadBalancerNodePorts',
    'externalIPs',
    'externalTrafficPolicy',
    'internalTrafficPolicy',
    'ipFamilies',
    'ipFamilyPolicy',
    'loadBalancerIP',
    'loadBalancerSourceRanges',
    'sessionAffinity',
    'sessionAffinityConfig',
    'trafficDistribution',
  ),
})
const deployment = message({
  replicas: integer({ min: 0 }),
  selector: required(labelSelector),
  template: required(podTemplate),
  strategy: message({
    type: oneOfNames('RollingUpdate', 'Recreate'),
    rollingUpdate: message({ maxSurge: intOrString, maxUnavailable: intOrString }),
  }),
  ...noEffects('minReadySeconds', 'paused', 'progressDeadlineSeconds', 'revisionHistoryLimit'),
})
const endpoint = message({
  addresses: required(list(string(), { min: 1 })),
  conditions: message({ ready: bool, serving: bool, terminating: bool }),
  ...noEffects('hostname', 'nodeName', 'zone', 'targetRef', 'hints'),
})

interface Kind {
  readonly versions: readonly string[]
  readonly namespaced: boolean
  readonly fields: Record<string, AnyField>
}

const KINDS: Record<string, Kind> = {
  Namespace: { versions: ['v1'], namespaced: false, fields: { spec: noEffect } },
  ServiceAccount: {
    versions: ['v1'],
    namespaced: true,
    fields: noEffects('secrets', 'imagePullSecrets', 'automountServiceAccountToken'),
  },
  Service: { versions: ['v1'], namespaced: true, fields: { spec: required(service) } },
  Deployment: { versions: ['apps/v1'], namespaced: true, fields: { spec: required(deployment) } },
  Pod: { versions: ['v1'], namespaced: true, fields: { spec: required(podSpec) } },
  ConfigMap: { versions: ['v1'], namespaced: true, fields: { data: strings, binaryData: strings, immutable: bool } },
  Secret: {
    versions: ['v1'],
    namespaced: true,
    fields: { type: string(), data: strings, stringData: strings, immutable: bool },
  },
  EndpointSlice: {
    versions: ['discovery.k8s.io/v1'],
    namespaced: true,
    fields: {
      addressType: required(oneOfNames('IPv4', 'IPv6', 'FQDN')),
      endpoints: required(list(endpoint)),
      ports: list(message({ name: string(), port, protocol: oneOfNames('TCP', 'UDP', 'SCTP'), appProtocol: string() })),
    },
  },
}

/** Every problem of one Kubernetes object; an empty list means it may be applied. */
export function parseKubernetesObject(content: unknown): readonly Problem[] {
  const failed = (path: string, text: string, hint?: string) => {
    const result = fail(path, text, hint)
    return result.ok ? [] : result.problems
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    return failed('', 'must be an object with apiVersion, kind and metadata')
  }
  const { apiVersion, kind } = content as Partial<KubeObject>
  if (typeof apiVersion !== 'string') return failed('apiVersion', 'is required')
  if (typeof kind !== 'string') return failed('kind', 'is required')
  const known = Object.hasOwn(KINDS, kind) ? KINDS[kind]! : undefined
  if (!known) {
    return failed(
      'kind',
      `unknown kind "${kind}" of ${apiVersion}`,
      `this cluster has ${Object.keys(KINDS).join(', ')} and Istio's kinds`,
    )
  }
  if (!known.versions.includes(apiVersion)) {
    return failed('apiVersion', `${kind} has no version "${apiVersion}"`, `use ${known.versions.join(', ')}`)
  }
  const problems = new schema.Problems()
  message({
    apiVersion: string(),
    kind: string(),
    metadata: required(metadata),
    status: struct,
    ...known.fields,
  }).parse(content, '', problems)
  return problems.list
}
