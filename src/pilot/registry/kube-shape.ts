// Whether a Kubernetes object has the shape that conversions read. An API server guarantees it, a folder of files does not.
import { isIP } from 'node:net'
import type { KubeObject } from '../../cluster/index.ts'

type Check = (value: unknown, path: string) => string | null

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const string: Check = (value, path) => (typeof value === 'string' ? null : `${path} must be a string`)
/** Headless is `None`; not placed yet is empty. */
const ip: Check = (value, path) =>
  value === '' || value === 'None' || (typeof value === 'string' && isIP(value) !== 0)
    ? null
    : `${path} must be an IP address`
const boolean: Check = (value, path) => (typeof value === 'boolean' ? null : `${path} must be true or false`)
const port: Check = (value, path) =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
    ? null
    : `${path} must be a port number`
const portOrName: Check = (value, path) => (typeof value === 'string' ? null : port(value, path))

/** A list; null counts as empty, as the API has it. */
function list(item: Check): Check {
  return (value, path) => {
    if (value === null) return null
    if (!Array.isArray(value)) return `${path} must be a list`
    for (const [i, one] of value.entries()) {
      const problem = item(one, `${path}[${i}]`)
      if (problem) return problem
    }
    return null
  }
}

const strings: Check = (value, path) => {
  if (value === null) return null
  if (!isObject(value)) return `${path} must be a mapping`
  for (const [key, one] of Object.entries(value)) {
    if (typeof one !== 'string') return `${path}.${key} must be a string: write it in quotes`
  }
  return null
}

/** An object whose listed fields, where set, hold; the others are not looked at. */
function fields(checks: Readonly<Record<string, Check>>, required: readonly string[] = []): Check {
  return (value, path) => {
    if (!isObject(value)) return `${path} must be a mapping`
    for (const name of required) if ((value[name] ?? null) === null) return `${path}.${name} is missing`
    for (const [name, check] of Object.entries(checks)) {
      if (value[name] === undefined || value[name] === null) continue
      const problem = check(value[name], path ? `${path}.${name}` : name)
      if (problem) return problem
    }
    return null
  }
}

const METADATA: Check = fields({ metadata: fields({ labels: strings, annotations: strings }) })

const SHAPES: Readonly<Record<string, Check>> = {
  Service: fields({
    spec: fields({
      type: string,
      clusterIP: ip,
      clusterIPs: list(ip),
      externalName: string,
      selector: strings,
      ports: list(
        fields({ name: string, port, protocol: string, targetPort: portOrName, appProtocol: string }, ['port']),
      ),
      externalIPs: list(ip),
      internalTrafficPolicy: string,
      publishNotReadyAddresses: boolean,
      trafficDistribution: string,
    }),
    status: fields({
      loadBalancer: fields({ ingress: list(fields({ ip, hostname: string })) }),
    }),
  }),
  Pod: fields({
    spec: fields({
      serviceAccountName: string,
      nodeName: string,
      hostname: string,
      subdomain: string,
      containers: list(fields({ ports: list(fields({ name: string, containerPort: port, protocol: string })) })),
      initContainers: list(
        fields({ restartPolicy: string, ports: list(fields({ name: string, containerPort: port, protocol: string })) }),
      ),
    }),
    status: fields({
      phase: string,
      podIP: ip,
      podIPs: list(fields({ ip }, ['ip'])),
      conditions: list(fields({ type: string, status: string })),
    }),
  }),
  'EndpointSlice.discovery.k8s.io': fields({
    addressType: string,
    ports: list(fields({ name: string, port, protocol: string })),
    endpoints: list(
      fields({
        addresses: list(string),
        conditions: fields({ ready: boolean, serving: boolean, terminating: boolean }),
        nodeName: string,
        targetRef: fields({ kind: string, name: string, namespace: string }),
      }),
    ),
  }),
}

/** The first thing wrong with an object, with its path; null when it can be converted. */
export function kubeShapeProblem(kind: string, object: KubeObject): string | null {
  const shape = SHAPES[kind]
  // Istio's and the Gateway API's resources have parsers of their own.
  if (shape === undefined && object.apiVersion !== 'v1') return null
  return METADATA(object, '') ?? shape?.(object, '') ?? null
}
