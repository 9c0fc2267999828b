// Gateways and ListenerSets: every listener becomes one Istio Gateway behind the Services of its Gateway.
import {
  GATEWAY_API_GROUP,
  type Gateway,
  type GatewayApiListener,
  type GatewayApiResource,
  gatewayApiGroupKind,
} from '../../config/index.ts'
import type { Condition, ListenerStatus, ObjectStatus } from '../status.ts'
import { type GatewayServices, gatewayServices, isManaged, programming } from './addresses.ts'
import { keyPairName, type RefProblem } from './certificates.ts'
import type { GatewayApiIndex } from './inputs.ts'
import { listenerConflicts, overlappingTls } from './listener-conflicts.ts'
import { type AttachableListener, type JudgedListener, judgeListener, type ListenerOwner } from './listeners.ts'

export interface ConvertedGateways {
  readonly gateways: readonly Gateway[]
  readonly listeners: readonly AttachableListener[]
  /** Gateways that get a Deployment, with all their listeners. */
  readonly managed: readonly { readonly gateway: KubeGateway; readonly listeners: readonly GatewayApiListener[] }[]
  /** Statuses, once it is known what the Gateways are used for. */
  readonly statuses: (usage: GatewayUsage) => ObjectStatus[]
}

export interface GatewayUsage {
  /** How many routes attach to a listener. */
  readonly attachedRoutes: (listener: AttachableListener) => number
  /** What of a Gateway's `infrastructure.parametersRef` cannot be used. */
  readonly parameterProblems: (gateway: GatewayApiResource<'Gateway'>) => readonly string[]
}

type KubeGateway = GatewayApiResource<'Gateway'>
type ListenerSet = GatewayApiResource<'ListenerSet'>

/** The listeners that one object brought. */
interface Owned {
  readonly owner: ListenerOwner
  readonly listeners: readonly JudgedListener[]
}

export function convertGateways(index: GatewayApiIndex): ConvertedGateways {
  const all: { readonly gateway: KubeGateway; readonly services: GatewayServices; readonly owned: readonly Owned[] }[] =
    []
  const fixed: ObjectStatus[] = []
  const sets = listenerSetsByGateway(index)
  for (const gateway of index.lists.Gateway) {
    const role = index.roleOf(gateway)
    const own = sets.get(keyOf(gateway)) ?? []
    if (role === 'managed') {
      const allowed = index.chosenNamespaces(
        gateway.spec.allowedListeners?.namespaces ?? {},
        gateway.metadata.namespace,
        'None',
      )
      const eligible = own.filter(({ metadata }) => allowed === null || allowed.has(metadata.namespace))
      const refused = "The parent Gateway does not allow this reference; check the 'spec.allowedRoutes'"
      for (const set of own) if (!eligible.includes(set)) fixed.push(notAllowed(set, refused))
      const services = gatewayServices(gateway, index.domain)
      all.push({ gateway, services, owned: judgeAll(gateway, services, eligible, index) })
    } else if (role) {
      fixed.push(role === 'remote' ? remote(gateway) : notBuilt(gateway))
      const name = JSON.stringify(gateway.spec.gatewayClassName)
      for (const set of own) fixed.push(notAllowed(set, `The ${name} GatewayClass does not support ListenerSet`))
    }
  }
  const listeners = all.flatMap(({ owned }) => owned.flatMap((one) => one.listeners))
  return {
    gateways: listeners.flatMap(({ gateway }) => gateway ?? []),
    listeners: listeners.flatMap((one) => (isOpen(one) ? one.attachable : [])),
    managed: all
      .filter(({ gateway }) => isManaged(gateway))
      .map(({ gateway, owned }) => ({
        gateway,
        listeners: owned.flatMap((one) => one.listeners.map(({ attachable }) => attachable.listener)),
      })),
    statuses: (usage) => [
      ...fixed,
      ...all.flatMap(({ gateway, services, owned }) =>
        owned.map((one) =>
          one.owner.kind === 'Gateway'
            ? gatewayStatus(gateway, services, owned, usage, index)
            : listenerSetStatus(one, gateway, services, usage, index),
        ),
      ),
    ],
  }
}

/** A ListenerSet brings only what is valid; a Gateway's listeners can be attached to even so. */
function isOpen({ open, valid, attachable }: JudgedListener): boolean {
  return attachable.owner.kind === 'ListenerSet' ? open && valid : open
}

function keyOf({ metadata }: Pick<ListenerOwner, 'metadata'>): string {
  return `${metadata.namespace}/${metadata.name}`
}

/** ListenerSets by the Gateway they are for, oldest first. */
function listenerSetsByGateway({ lists }: GatewayApiIndex): ReadonlyMap<string, ListenerSet[]> {
  return Map.groupBy(
    lists.ListenerSet.filter(({ spec }) => {
      const { group = GATEWAY_API_GROUP, kind = 'Gateway' } = spec.parentRef
      return group === GATEWAY_API_GROUP && kind === 'Gateway'
    }),
    ({ metadata, spec }) => `${spec.parentRef.namespace ?? metadata.namespace}/${spec.parentRef.name}`,
  )
}

function judgeAll(
  gateway: KubeGateway,
  services: GatewayServices,
  sets: readonly ListenerSet[],
  index: GatewayApiIndex,
): Owned[] {
  const owners: readonly ListenerOwner[] = [gateway, ...sets]
  const entries = owners.flatMap((owner) => listenersOf(owner).map((listener) => ({ owner, listener })))
  const merged = entries.map(({ listener }) => listener)
  const conflicts = listenerConflicts(merged)
  const standing = merged.filter((_, i) => conflicts[i] === null)
  const judged = entries.map(({ owner, listener }, i) => ({
    owner,
    listener: judgeListener(
      listener,
      {
        owner,
        gateway,
        services: services.hosts,
        conflict: conflicts[i]!,
        overlapping: conflicts[i] === null ? overlappingTls(listener, standing) : [],
      },
      index,
    ),
  }))
  return owners.map((owner) => ({
    owner,
    listeners: judged.filter((one) => one.owner === owner).map(({ listener }) => listener),
  }))
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { HTTP: 80, HTTPS: 443, TLS: 443 }

function listenersOf(owner: ListenerOwner): GatewayApiListener[] {
  return owner.spec.listeners.map((listener) => ({
    ...listener,
    port: listener.port ?? DEFAULT_PORTS[listener.protocol] ?? 0,
  }))
}

function condition(type: string, status: Condition['status'], reason: string, message: string): Condition {
  return { type, status, reason, message }
}

function statusOf(owner: ListenerOwner, status: Omit<ObjectStatus['status'] & { shape: 'gateway' }, 'shape'>) {
  const { name, namespace } = owner.metadata
  return { kind: gatewayApiGroupKind(owner.kind), namespace, name, status: { shape: 'gateway' as const, ...status } }
}

function listenerStatuses(
  listeners: readonly JudgedListener[],
  attachedRoutes: (listener: AttachableListener) => number,
): ListenerStatus[] {
  return listeners.map(({ attachable, supportedKinds, conditions }) => ({
    name: attachable.listener.name,
    attachedRoutes: attachedRoutes(attachable),
    supportedKinds: supportedKinds.map((kind) => ({ group: GATEWAY_API_GROUP, kind })),
    conditions,
  }))
}

function portsOf(listeners: readonly JudgedListener[]): ReadonlySet<number> {
  return new Set(listeners.flatMap(({ open, attachable }) => (open ? attachable.listener.port : [])))
}

/** `Accepted` by what is wrong with the Gateway's addresses or parameters, and by how many listeners are valid. */
function acceptance({ owner, listeners }: Owned, problem: RefProblem | null): Condition {
  const what = owner.kind
  if (problem) {
    const message = what === 'Gateway' ? problem.message : `Parent not accepted: ${problem.message}`
    return condition('Accepted', 'False', problem.reason, message)
  }
  const valid = listeners.filter((listener) => listener.valid).length
  if (valid === 0 && listeners.length > 0) {
    return condition('Accepted', 'False', 'ListenersNotValid', `None of the ${what}'s listeners are valid`)
  }
  if (valid < listeners.length && what === 'Gateway') {
    return condition('Accepted', 'True', 'ListenersNotValid', "One or more of the Gateway's listeners are invalid")
  }
  return condition('Accepted', 'True', 'Accepted', 'Resource accepted')
}

function gatewayStatus(
  gateway: KubeGateway,
  services: GatewayServices,
  owned: readonly Owned[],
  { attachedRoutes, parameterProblems }: GatewayUsage,
  index: GatewayApiIndex,
): ObjectStatus {
  const [own, ...sets] = owned as [Owned, ...Owned[]]
  const attachedSets = sets.filter((set) => set.listeners.some(isOpen)).length
  const all = [...own.listeners, ...sets.flatMap((set) => set.listeners.filter(isOpen))]
  const { condition: programmed, addresses } = programming(gateway, services.hosts, portsOf(all), index)
  const parameters = parametersProblem(gateway, index) ?? parameterProblems(gateway).join('; ')
  const problem = services.problem ?? (parameters === '' ? null : { reason: 'InvalidParameters', message: parameters })
  const accepted = acceptance(own, problem)
  return statusOf(gateway, {
    conditions: [accepted, ...insecure(gateway), programmed, clientCertificate(gateway, index)],
    ...(addresses ? { addresses } : {}),
    ...(attachedSets > 0 ? { attachedListenerSets: attachedSets } : {}),
    ...(services.hosts.length > 0 ? { listeners: listenerStatuses(own.listeners, attachedRoutes) } : {}),
  })
}

/** `ResolvedRefs` of a Gateway: the certificate it shows to backends. */
function clientCertificate(gateway: KubeGateway, index: GatewayApiIndex): Condition {
  const reference = (gateway.spec.tls?.backend ?? gateway.spec.backendTLS)?.clientCertificateRef
  const found = reference && keyPairName(gateway, reference, index, 'clientCertificateRef')
  return found && !found.ok
    ? condition('ResolvedRefs', 'False', found.problem.reason, found.problem.message)
    : condition('ResolvedRefs', 'True', 'ResolvedRefs', 'All references resolved')
}

function insecure({ spec }: KubeGateway): Condition[] {
  const { frontend } = spec.tls ?? {}
  const modes = [frontend?.default?.validation?.mode, ...(frontend?.perPort ?? []).map((p) => p.tls?.validation?.mode)]
  if (!modes.includes('AllowInsecureFallback')) return []
  const message = 'Gateway is operating in AllowInsecureFallback mode for frontend validation'
  return [condition('InsecureFrontendValidationMode', 'True', 'ConfigurationChanged', message)]
}

/** What is wrong with `infrastructure.parametersRef`, in istiod's words. */
export function parametersProblem({ metadata, spec }: KubeGateway, index: GatewayApiIndex): string | null {
  const reference = spec.infrastructure?.parametersRef
  if (!reference) return null
  if (reference.kind !== 'ConfigMap' || (reference.group ?? '') !== '') {
    const what = `${reference.group ?? ''}/${reference.kind}`
    return `Unsupported parametersRef group/kind ${what}, only ConfigMap is supported`
  }
  return index.credential('ConfigMap', metadata.namespace, reference.name)
    ? null
    : `parametersRef ConfigMap ${metadata.namespace}/${reference.name} does not exist`
}

function listenerSetStatus(
  set: Owned,
  gateway: KubeGateway,
  services: GatewayServices,
  { attachedRoutes }: GatewayUsage,
  index: GatewayApiIndex,
): ObjectStatus {
  const { owner, listeners } = set
  const accepted = acceptance(set, services.problem)
  const programmed = listeners.some(isOpen)
    ? programming(gateway, services.hosts, portsOf(listeners), index).condition
    : { ...acceptance(set, null), type: 'Programmed' }
  return statusOf(owner, {
    conditions: [accepted, programmed],
    ...(services.hosts.length > 0 ? { listeners: listenerStatuses(listeners, attachedRoutes) } : {}),
  })
}

function notAllowed(set: ListenerSet, message: string): ObjectStatus {
  return statusOf(set, {
    conditions: ['Accepted', 'Programmed'].map((type) => condition(type, 'False', 'NotAllowed', message)),
  })
}

function remote(gateway: KubeGateway): ObjectStatus {
  return statusOf(gateway, {
    addresses: (gateway.spec.addresses ?? []).map(({ type = 'IPAddress', value = '' }) => ({ type, value })),
    conditions: [
      condition('Accepted', 'True', 'Accepted', 'Resource accepted'),
      condition('Programmed', 'True', 'Programmed', 'This Gateway is remote; Istio will not program it'),
    ],
  })
}

function notBuilt(gateway: KubeGateway): ObjectStatus {
  const message = `class ${gateway.spec.gatewayClassName} belongs to the ambient mode, which is not built`
  return statusOf(gateway, {
    conditions: ['Accepted', 'Programmed'].map((type) => condition(type, 'False', 'Invalid', message)),
  })
}
