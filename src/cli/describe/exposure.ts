// Where services can be reached from outside: the ingress gateways whose routes lead to them.

import { UserError } from '../../base/errors.ts'
import type { MeshObject } from '../access.ts'
import type { ConfigDump } from '../envoy/config-dump.ts'
import { type DescribedMesh, items, labelsOf, matches, named, namespaceOf, RULE, spec, stateOf } from './objects.ts'
import { type NameOf, protocolOf, servicePorts, targetPort } from './pod.ts'
import { destinationRuleOf, virtualServiceOf } from './proxy-config.ts'
import { NO_SUBSETS, subsetsOf, virtualServiceText } from './rules.ts'

/** A Service of ingress gateways, with the pods behind it. */
interface Ingress {
  readonly service: MeshObject
  readonly pods: readonly MeshObject[]
}

export async function exposureText(
  mesh: DescribedMesh,
  services: readonly MeshObject[],
  pods: readonly MeshObject[],
  nameOf: NameOf,
  write: (text: string) => void,
): Promise<void> {
  const gatewayPods = mesh.pods.filter(
    (pod) => labelsOf(pod).istio === 'ingressgateway' && stateOf(pod).phase === 'Running',
  )
  if (gatewayPods.length === 0) return write('Skipping Gateway information (no ingress gateway pods)\n')
  const ingresses = ingressesOf(mesh.services, gatewayPods)
  if (ingresses.length === 0) write('Skipping Gateway information (no ingress gateway service)\n')
  const shown = new Set<MeshObject>()
  for (const gatewayPod of gatewayPods) {
    const dump = await gatewayDump(mesh, gatewayPod)
    for (const service of services) {
      for (const { port } of servicePorts(service)) {
        const ruleName = destinationRuleOf(dump, service, port)
        const rule = ruleName ? named(mesh.destinationRules, ruleName.name, ruleName.namespace) : undefined
        const subsets = rule ? subsetsOf(rule, pods.map(labelsOf)) : NO_SUBSETS
        const vsName = virtualServiceOf(dump, service, port)
        const vs = vsName ? named(mesh.virtualServices, vsName.name, vsName.namespace) : undefined
        if (!vs) continue
        for (const gateway of gatewaysOf(mesh, vs, write)) {
          if (shown.has(gateway)) continue
          shown.add(gateway)
          if (!spec(gateway).selector) {
            write(`Ingress Gateway ${namespaceOf(gateway)}/${gateway.metadata.name} be applied all workloads\n`)
            continue
          }
          const serving = ingresses.filter(({ pods: own }) =>
            own.some((pod) => matches(spec(gateway).selector, labelsOf(pod))),
          )
          if (serving.length === 0) continue
          const addresses = serving.sort((a, b) => (addressOf(a) < addressOf(b) ? -1 : 1)).map(ingressText)
          write(`${RULE}${addresses.join('')}${virtualServiceText(vs, { service, subsets, rule }, nameOf, '')}`)
        }
      }
    }
  }
}

async function gatewayDump(mesh: DescribedMesh, pod: MeshObject): Promise<ConfigDump> {
  try {
    return await mesh.dumpOf(pod)
  } catch (error) {
    throw error instanceof UserError
      ? new UserError(`failed to execute command on ingress gateway sidecar: ${error.message}`, 1, { cause: error })
      : error
  }
}

function ingressesOf(services: readonly MeshObject[], gatewayPods: readonly MeshObject[]): Ingress[] {
  return services
    .map((service) => ({
      service,
      pods: gatewayPods.filter(
        (pod) => namespaceOf(pod) === namespaceOf(service) && matches(spec(service).selector, labelsOf(pod)),
      ),
    }))
    .filter(({ pods }) => pods.length > 0)
}

/** The Gateways that a VirtualService binds to; those that do not exist are told. */
function gatewaysOf(mesh: DescribedMesh, vs: MeshObject, write: (text: string) => void): MeshObject[] {
  const out: MeshObject[] = []
  for (const text of items<string>(spec(vs).gateways)) {
    if (text === '' || text === 'mesh') continue
    const slash = text.indexOf('/')
    const [namespace, name] = slash < 0 ? [namespaceOf(vs), text] : [text.slice(0, slash), text.slice(slash + 1)]
    const gateway = named(mesh.gateways, name, namespace)
    if (gateway) out.push(gateway)
    else write(`WARNING: Proxy is stale; it references to non-existent gateway ${namespace}/${name}\n`)
  }
  return out
}

function addressOf({ service, pods }: Ingress): string {
  const status = service.status as {
    readonly loadBalancer?: { readonly ingress?: readonly { readonly ip?: string }[] }
  }
  const balancer = status?.loadBalancer?.ingress?.[0]
  if (balancer) return balancer.ip ?? ''
  return stateOf(pods[0]!).hostIP || 'unknown'
}

const SCHEMES: Readonly<Record<string, string>> = { HTTP: 'http', HTTP2: 'http' }
const HTTP_PORT = 80

function ingressText(ingress: Ingress): string {
  let out = ''
  for (const port of servicePorts(ingress.service)) {
    if ((port.protocol ?? 'TCP') !== 'TCP' || (port.name !== 'http2' && port.name !== 'http')) continue
    if (targetPort(port, ingress.pods[0]!) === undefined) continue
    const scheme = SCHEMES[protocolOf(port)] ?? ''
    const suffix = scheme === 'http' && port.port === HTTP_PORT ? '' : `:${port.port}`
    out += `Exposed on Ingress Gateway ${scheme}://${addressOf(ingress)}${suffix}\n`
  }
  return out
}
