// `x describe`: what concerns one pod or service, in istioctl's words: read from the configuration of its proxy, which
// says what the proxy does, and from the resources that this configuration names.

import { UserError } from '../../base/errors.ts'
import type { MeshObject } from '../access.ts'
import type { ConfigDump } from '../envoy/config-dump.ts'
import { exposureText } from './exposure.ts'
import { type DescribedMesh, labelsOf, named, namespaceOf, RULE, selects, stateOf } from './objects.ts'
import { peerAuthenticationText } from './peer-authentication.ts'
import { type NameOf, podText, servicePorts, serviceText } from './pod.ts'
import { destinationRuleOf, enforcedPolicies, virtualServiceOf } from './proxy-config.ts'
import { destinationRuleText, NO_SUBSETS, subsetsOf, virtualServiceText } from './rules.ts'

export type { DescribedMesh } from './objects.ts'

export interface DescribeOptions {
  /** The namespace whose objects are named without it. */
  readonly namespace: string
  /** Nothing is said of missing sidecars. */
  readonly ignoreUnmeshed: boolean
}

type Write = (text: string) => void

const PROXY = 'istio-proxy'

function nameIn(namespace: string): NameOf {
  return (object) =>
    namespaceOf(object) === namespace ? object.metadata.name : `${object.metadata.name}.${namespaceOf(object)}`
}

/** Writes what concerns a pod, part by part. Throws UserError where a proxy does not answer. */
export async function describePod(
  mesh: DescribedMesh,
  pod: MeshObject,
  options: DescribeOptions,
  write: Write,
): Promise<void> {
  const nameOf = nameIn(options.namespace)
  write(podText(pod, nameOf, options.ignoreUnmeshed))
  const services = mesh.services.filter(
    (service) => namespaceOf(service) === namespaceOf(pod) && selects(service, labelsOf(pod)),
  )
  if (services.length === 0 && !options.ignoreUnmeshed) {
    write(
      `Warning: No Kubernetes Services select pod ${nameOf(pod)} (see https://istio.io/docs/setup/kubernetes/additional-setup/requirements/ )\n`,
    )
  }
  write(RULE)
  await describeServices(mesh, pod, services, [pod], options, write)
  write(RULE)
  write(peerAuthenticationText(mesh.peerAuthentications, mesh.rootNamespace, pod))
  await exposureText(mesh, services, [pod], nameOf, write)
}

/** Writes what concerns a service, by the first of its pods that is ready. */
export async function describeService(
  mesh: DescribedMesh,
  service: MeshObject,
  options: DescribeOptions,
  write: Write,
): Promise<void> {
  const nameOf = nameIn(options.namespace)
  const selected = mesh.pods.filter(
    (pod) => namespaceOf(pod) === namespaceOf(service) && selects(service, labelsOf(pod)),
  )
  const ready = selected.filter((pod) => {
    const why = whyNotReady(pod, nameOf)
    if (why !== null) write(why)
    return why === null
  })
  if (selected.length === 0) return write(`Service ${JSON.stringify(nameOf(service))} has no pods.\n`)
  if (ready.length === 0) {
    write(`Service ${JSON.stringify(nameOf(service))} has no Istio pods.  (${selected.length} pods in service).\n`)
    return write('Use `istioctl kube-inject` or redeploy with Istio automatic sidecar injection.\n')
  }
  await describeServices(mesh, ready[0]!, [service], ready, options, write)
  await exposureText(mesh, [service], ready, nameOf, write)
}

function whyNotReady(pod: MeshObject, nameOf: NameOf): string | null {
  const { phase = 'Pending', containerStatuses = [], initContainerStatuses = [] } = stateOf(pod)
  if (phase !== 'Running') return `   Pod is not Running (${phase})\n`
  const status = [...containerStatuses, ...initContainerStatuses].find(({ name }) => name === PROXY)
  if (!status) return `Pod ${nameOf(pod)}: no container "${PROXY}" in pod\n`
  return status.ready ? null : `WARNING: Pod ${nameOf(pod)} Container ${PROXY} NOT READY\n`
}

async function describeServices(
  mesh: DescribedMesh,
  pod: MeshObject,
  services: readonly MeshObject[],
  pods: readonly MeshObject[],
  { namespace, ignoreUnmeshed }: DescribeOptions,
  write: Write,
): Promise<void> {
  let dump: ConfigDump
  try {
    dump = await mesh.dumpOf(pod)
  } catch (error) {
    if (ignoreUnmeshed) return
    throw error instanceof UserError
      ? new UserError(`failed to execute command on sidecar: ${error.message}`, 1, { cause: error })
      : error
  }
  const nameOf = nameIn(namespace)
  for (const [row, service] of services.entries()) {
    if (row > 0) write(RULE)
    write(serviceText(service, pod, nameOf))
    const ports = servicePorts(service)
    const several = ports.length > 1
    for (const { port } of ports) {
      if (several) write(`${port}:\n`)
      write(portText(mesh, dump, service, port, pods, nameOf, several ? '   ' : ''))
      const policies = enforcedPolicies(dump)
      if (policies.length > 0) write(`${several ? `${port} ` : ''}RBAC policies: ${policies.join(', ')}\n`)
    }
  }
}

/** The rules that a proxy's configuration for one port comes from. */
function portText(
  mesh: DescribedMesh,
  dump: ConfigDump,
  service: MeshObject,
  port: number,
  pods: readonly MeshObject[],
  nameOf: NameOf,
  indent: string,
): string {
  let out = ''
  const stale = (kind: string, { name, namespace }: { name: string; namespace: string }) =>
    `WARNING: Proxy is stale; it references to non-existent ${kind} ${name}.${namespace}\n`
  const ruleName = destinationRuleOf(dump, service, port)
  const rule = ruleName ? named(mesh.destinationRules, ruleName.name, ruleName.namespace) : undefined
  const subsets = rule ? subsetsOf(rule, pods.map(labelsOf)) : NO_SUBSETS
  if (rule) out += destinationRuleText(rule, subsets, nameOf, indent)
  else if (ruleName) out += stale('destination rule', ruleName)
  const vsName = virtualServiceOf(dump, service, port)
  const vs = vsName ? named(mesh.virtualServices, vsName.name, vsName.namespace) : undefined
  if (vs) out += virtualServiceText(vs, { service, subsets, rule }, nameOf, indent)
  else if (vsName) out += stale('virtual service', vsName)
  return out
}
