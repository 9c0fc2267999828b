// The Services a Gateway stands behind, and what the Gateway's `Programmed` condition and addresses say of them.
import type { GatewayApiResource } from '../../config/index.ts'
import { compareText, kubeHostname } from '../model/host.ts'
import type { Service } from '../model/service.ts'
import type { Address, Condition } from '../status.ts'
import type { RefProblem } from './certificates.ts'
import type { GatewayApiIndex } from './inputs.ts'

/** The annotation that names the Deployment and Service instead of `<gateway>-<class>`. */
const NAME_OVERRIDE = 'gateway.istio.io/name-override'
/** `Hostname` or `IPAddress`: what to report while a Gateway has no external address. */
const ADDRESS_TYPE = 'networking.istio.io/address-type'
/** Type of the Service that a managed Gateway gets. */
export const SERVICE_TYPE = 'networking.istio.io/service-type'
/** On objects that the control plane made for a Gateway. */
export const MANAGED_LABEL = 'gateway.istio.io/managed'

type Gateway = GatewayApiResource<'Gateway'>

/** A Gateway without addresses, or with an IP address alone, gets a Deployment; one that names hosts has its Services. */
export function isManaged({ spec }: Gateway): boolean {
  const { addresses = [] } = spec
  return addresses.length === 0 || (addresses.length === 1 && (addresses[0]!.type ?? 'IPAddress') === 'IPAddress')
}

/** Name of the Deployment, Service and (unless it says otherwise) ServiceAccount of a managed Gateway. */
export function workloadName({ metadata, spec }: Gateway): string {
  return metadata.annotations[NAME_OVERRIDE] ?? `${metadata.name}-${spec.gatewayClassName}`
}

export interface GatewayServices {
  /** Host names. */
  readonly hosts: readonly string[]
  /** What the Gateway asks for and does not get. */
  readonly problem: RefProblem | null
}

export function gatewayServices(gateway: Gateway, domain: string): GatewayServices {
  const { namespace, annotations } = gateway.metadata
  if (isManaged(gateway)) return { hosts: [kubeHostname(workloadName(gateway), namespace, domain)], problem: null }
  const hosts: string[] = []
  const unsupported: string[] = []
  for (const { type = 'IPAddress', value = '' } of gateway.spec.addresses ?? []) {
    if (type === 'Hostname') hosts.push(value.includes('.') ? value : kubeHostname(value, namespace, domain))
    else unsupported.push(value)
  }
  return { hosts, problem: addressProblem(unsupported, annotations) }
}

function addressProblem(
  unsupported: readonly string[],
  annotations: Readonly<Record<string, string>>,
): RefProblem | null {
  if (unsupported.length > 0) {
    const message = `only Hostname is supported, ignoring [${unsupported.join(' ')}]`
    return { reason: 'UnsupportedAddress', message }
  }
  if (annotations[SERVICE_TYPE] === undefined) return null
  const message = `annotation ${SERVICE_TYPE} is deprecated, use Spec.Infrastructure.Routeability`
  return { reason: 'DeprecatedField', message }
}

export interface Programming {
  readonly condition: Condition
  /** Undefined: none is known yet. */
  readonly addresses?: readonly Address[]
}

/** Where requests for `ports` reach the Gateway. */
export function programming(
  gateway: Pick<Gateway, 'metadata'>,
  hosts: readonly string[],
  ports: ReadonlySet<number>,
  index: GatewayApiIndex,
): Programming {
  const { namespace, annotations } = gateway.metadata
  const found = new Set<string>()
  const internal = new Set<string>()
  const external = new Set<string>()
  const pending = new Set<string>()
  const faults: string[] = []
  let usable = true
  for (const host of hosts) {
    const service = index.service(host, namespace)
    if (!service) {
      const elsewhere = index.servicesOf(host).map(({ attributes }) => JSON.stringify(attributes.namespace))
      const where = `but it was found in namespace(s) ${elsewhere.sort().join(', ')}`
      const hint = elsewhere.length > 0 ? ` in namespace ${JSON.stringify(namespace)}, ${where}` : ''
      faults.push(`hostname ${JSON.stringify(host)} not found${hint}`)
      usable = false
      continue
    }
    for (const port of [...ports].sort((a, b) => a - b)) {
      const fault = portFault(service, port, index)
      if (fault) {
        if (fault.message) faults.push(fault.message)
        usable &&= !fault.unusable
        continue
      }
      found.add(`${host}:${port}`)
      for (const address of service.addresses) internal.add(address)
      const given = service.attributes.external?.addresses ?? []
      const { type } = service.attributes
      for (const address of given) external.add(address)
      if (given.length === 0 && type === 'LoadBalancer' && !pending.has(host)) {
        pending.add(host)
        faults.push(`address pending for hostname ${JSON.stringify(host)}`)
      }
    }
  }
  const wanted = annotations[ADDRESS_TYPE] ?? 'Hostname'
  const names = [...found].map((at) => at.slice(0, at.lastIndexOf(':'))).filter((host) => !pending.has(host))
  const sorted = (texts: Iterable<string>) => [...new Set(texts)].sort(compareText)
  const addresses =
    external.size > 0
      ? sorted(external)
      : [...(wanted === 'Hostname' ? [] : sorted(internal)), ...(wanted === 'IPAddress' ? [] : sorted(names))]
  return {
    condition: programmed(hosts, [...found].sort(compareText), faults, usable),
    ...(addresses.length > 0 ? { addresses: addresses.map(addressOf) } : {}),
  }
}

function programmed(
  hosts: readonly string[],
  found: readonly string[],
  faults: readonly string[],
  usable: boolean,
): Condition {
  const condition = (status: Condition['status'], reason: string, message: string): Condition => ({
    type: 'Programmed',
    status,
    reason,
    message,
  })
  if (hosts.length === 0) return condition('False', 'UnsupportedAddress', NOWHERE)
  const assigned = `ssigned to service(s) ${listed(found)}`
  if (faults.length === 0) {
    return condition('True', 'Programmed', `Resource programmed${found.length > 0 ? `, a${assigned}` : ''}`)
  }
  const reason = usable ? 'AddressNotAssigned' : 'AddressNotUsable'
  const what = found.length > 0 ? `A${assigned}, but failed to assign to all requested addresses` : NOWHERE
  return condition('False', reason, `${what}: ${[...faults].sort(compareText).join('; ')}`)
}

const NOWHERE = 'Failed to assign to any requested addresses'

/** `a`, `a and b`, `a, b, and c`. */
function listed(texts: readonly string[]): string {
  if (texts.length < 3) return texts.join(' and ')
  return `${texts.slice(0, -1).join(', ')}, and ${texts.at(-1)}`
}

/** Null: the port leads somewhere. Without a message: it will soon. */
function portFault(
  service: Service,
  port: number,
  index: GatewayApiIndex,
): { readonly message?: string; readonly unusable: boolean } | null {
  const { hostname, ports, attributes } = service
  const all = index.endpoints(service)?.endpoints ?? []
  const named = ports.find((one) => one.port === port)
  if (named && all.some(({ portName }) => portName === named.name)) return null
  const host = `hostname ${JSON.stringify(hostname)}`
  if (all.length === 0) return { message: `no instances found for ${host}`, unusable: false }
  const meant = ports.filter(({ name }) => all.some((e) => e.portName === name && e.port === port))
  if (meant.length > 0) {
    const ports = meant
      .map((one) => String(one.port))
      .sort(compareText)
      .join(' ')
    const hint = `the service port should be specified, not the workload port. Did you mean one of these ports: [${ports}]?`
    return { message: `port ${port} not found for ${host} (hint: ${hint})`, unusable: true }
  }
  // The Service follows the Gateway; its endpoints follow it.
  if (attributes.labels[MANAGED_LABEL] !== undefined && named) return { unusable: false }
  return { message: `port ${port} not found for ${host}`, unusable: true }
}

function addressOf(value: string): Address {
  return { type: /^[\d.]+$|:/.test(value) ? 'IPAddress' : 'Hostname', value }
}
