// The Services a Gateway stands behind, and what the Gateway's `Programmed` condition and addresses say of them.
import type { GatewayApiResource } from '../../config/index.ts'
import { compareText, kubeHostname } from '../model/host.ts'
import type { Service } from '../model/service.ts'
import type { Address, Condition } from '../status.ts'
import type { GatewayApiIndex } from './inputs.ts'

/** The annotation that names the Deployment and Service instead of `<gateway>-<class>`. */
const NAME_OVERRIDE = 'gateway.istio.io/name-override'
/** `Hostname` or `IPAddress`: what to report while a Gateway has no external address. */
const ADDRESS_TYPE = 'networking.istio.io/address-type'
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
  /** Addresses that mean nothing to us. */
  readonly unsupported: readonly string[]
}

export function gatewayServices(gateway: Gateway, domain: string): GatewayServices {
  const { namespace } = gateway.metadata
  if (isManaged(gateway)) return { hosts: [kubeHostname(workloadName(gateway), namespace, domain)], unsupported: [] }
  const hosts: string[] = []
  const unsupported: string[] = []
  for (const { type = 'IPAddress', value = '' } of gateway.spec.addresses ?? []) {
    if (type === 'Hostname') hosts.push(value.includes('.') ? value : kubeHostname(value, namespace, domain))
    else unsupported.push(value)
  }
  return { hosts, unsupported }
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
      const elsewhere = index.servicesOf(host).map(({ attributes }) => attributes.namespace)
      const hint = elsewhere.length > 0 ? ` in namespace ${namespace}, but in ${elsewhere.sort().join(', ')}` : ''
      faults.push(`there is no service ${host}${hint}`)
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
        faults.push(`${host} waits for its external address`)
      }
    }
  }
  const addresses =
    external.size > 0
      ? [...external]
      : annotations[ADDRESS_TYPE] === 'IPAddress'
        ? [...internal]
        : [...found].map((at) => at.slice(0, at.lastIndexOf(':'))).filter((host) => !pending.has(host))
  return {
    condition: programmed(hosts, [...found].sort(compareText), faults, usable),
    ...(addresses.length > 0 ? { addresses: [...new Set(addresses)].sort(compareText).map(addressOf) } : {}),
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
  if (hosts.length === 0) return condition('False', 'UnsupportedAddress', 'none of the addresses is a host name')
  const served = found.length > 0 ? `served at ${found.join(', ')}` : 'not served anywhere'
  if (faults.length === 0) {
    return condition('True', 'Programmed', found.length > 0 ? served : 'no listener asks for a port')
  }
  const reason = usable ? 'AddressNotAssigned' : 'AddressNotUsable'
  return condition('False', reason, `${served}; ${[...faults].sort(compareText).join('; ')}`)
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
  if (all.length === 0) return { message: `${hostname} has no endpoint`, unusable: false }
  const meant = ports.filter(({ name }) => all.some((e) => e.portName === name && e.port === port))
  if (meant.length > 0) {
    const hint = meant.map((one) => one.port).join(', ')
    return { message: `port ${port} is the container's; ${hostname} has it as ${hint}`, unusable: true }
  }
  // The Service follows the Gateway; its endpoints follow it.
  if (attributes.labels[MANAGED_LABEL] !== undefined && named) return { unusable: false }
  return { message: `${hostname} has no port ${port}`, unusable: true }
}

function addressOf(value: string): Address {
  return { type: /^[\d.]+$|:/.test(value) ? 'IPAddress' : 'Hostname', value }
}
