// One listener of a Gateway or ListenerSet: the Istio Gateway it becomes, who may attach to it, and what its status says.
import {
  GATEWAY_API_GROUP,
  type Gateway,
  type GatewayApiListener,
  type GatewayApiResource,
} from '../../config/index.ts'
import type { Condition } from '../status.ts'
import { type ListenerTls, listenerTls } from './certificates.ts'
import type { GatewayApiIndex } from './inputs.ts'
import type { ConflictReason } from './listener-conflicts.ts'
import { GATEWAY_SERVICE, listenerGatewayName, PARENTS } from './names.ts'

/** Who brings the listener. */
export type ListenerOwner = GatewayApiResource<'Gateway'> | GatewayApiResource<'ListenerSet'>

/** A listener that routes may attach to. */
export interface AttachableListener {
  readonly owner: ListenerOwner
  /** The Gateway that serves it: `owner`, or the parent of the ListenerSet. */
  readonly gateway: GatewayApiResource<'Gateway'>
  readonly listener: GatewayApiListener
  /** `namespace/name` of the Istio Gateway made from it. */
  readonly istioGateway: string
  /** Namespaces whose routes may attach; null: all. */
  readonly namespaces: ReadonlySet<string> | null
  /** Route kinds that may attach. */
  readonly kinds: ReadonlySet<string>
}

/** A listener, judged. */
export interface JudgedListener {
  readonly attachable: AttachableListener
  /** Null: nothing is served. */
  readonly gateway: Gateway | null
  /** Nothing may attach to a listener that conflicts with another or waits for a ListenerSet to bring its TLS. */
  readonly open: boolean
  readonly supportedKinds: readonly string[]
  readonly conditions: readonly Condition[]
  readonly valid: boolean
}

interface Place {
  readonly owner: ListenerOwner
  readonly gateway: GatewayApiResource<'Gateway'>
  /** Hosts of the Services in front. */
  readonly services: readonly string[]
  readonly conflict: ConflictReason | null
  /** Other listeners whose TLS overlaps. */
  readonly overlapping: readonly string[]
}

export function judgeListener(listener: GatewayApiListener, place: Place, index: GatewayApiIndex): JudgedListener {
  const { owner, gateway, services } = place
  const { metadata } = owner
  const name = listenerGatewayName(metadata.name, listener.name)
  const { kinds, invalid } = supportedKinds(listener)
  const unsupported = protocolProblem(listener.protocol)
  const tls = listenerTls(owner, gateway, listener, index)
  // On a Gateway such a listener holds the place for one that a ListenerSet brings.
  const missingTls = owner.kind === 'ListenerSet' && tls.tls === null && !tls.problem
  const namespaces = index.chosenNamespaces(listener.allowedRoutes?.namespaces ?? {}, metadata.namespace, 'Same')
  const served = !place.conflict && !unsupported && tls.tls !== null
  const host = listener.hostname || '*'
  return {
    attachable: {
      owner,
      gateway,
      listener,
      istioGateway: `${metadata.namespace}/${name}`,
      namespaces,
      kinds: new Set(kinds),
    },
    gateway: served
      ? {
          kind: 'Gateway',
          apiVersion: 'networking.istio.io/v1',
          metadata: {
            ...metadata,
            name,
            annotations: {
              [GATEWAY_SERVICE]: services.join(','),
              [PARENTS]: `${owner.kind}/${metadata.name}/${listener.name}.${metadata.namespace}`,
            },
          },
          spec: {
            servers: [
              {
                port: { number: listener.port, protocol: listener.protocol, name: 'default' },
                hosts: namespaces ? hostsFor(namespaces, host) : [`*/${host}`],
                tls: tls.tls ?? undefined,
              },
            ],
          },
          origin: owner.origin,
          warnings: [],
        }
      : null,
    open: !place.conflict && !(tls.tls === null && !tls.problem),
    supportedKinds: kinds,
    conditions: conditionsOf(listener.protocol, place, { unsupported, tls, missingTls, invalidKinds: invalid }),
    valid: !place.conflict && !unsupported && !tls.problem && !missingTls,
  }
}

/** Where no namespace may attach the name still tells TLS clients of this listener from those of others. */
function hostsFor(namespaces: ReadonlySet<string>, host: string): string[] {
  return namespaces.size > 0 ? [...namespaces].map((namespace) => `${namespace}/${host}`) : [`~/${host}`]
}

const KINDS_OF_PROTOCOL: Readonly<Record<string, readonly string[]>> = {
  HTTP: ['HTTPRoute', 'GRPCRoute'],
  HTTPS: ['HTTPRoute', 'GRPCRoute'],
  TLS: ['TLSRoute'],
  TCP: ['TCPRoute'],
}

/** Kinds that may attach; `invalid`: the listener allows others that can not. */
function supportedKinds({ protocol, tls, allowedRoutes }: GatewayApiListener): { kinds: string[]; invalid: boolean } {
  const possible = [...(KINDS_OF_PROTOCOL[protocol] ?? [])]
  // What is decrypted here can be forwarded as plain TCP.
  if (protocol === 'TLS' && (tls?.mode ?? 'Terminate') === 'Terminate') possible.push('TCPRoute')
  const asked = allowedRoutes?.kinds
  if (!asked?.length) return { kinds: possible, invalid: false }
  const kinds = possible.filter((name) =>
    asked.some(({ kind, group = GATEWAY_API_GROUP }) => kind === name && group === GATEWAY_API_GROUP),
  )
  return { kinds, invalid: kinds.length < asked.length }
}

function protocolProblem(protocol: string): string | null {
  if (Object.hasOwn(KINDS_OF_PROTOCOL, protocol)) return null
  const upper = protocol.toUpperCase()
  const hint = Object.hasOwn(KINDS_OF_PROTOCOL, upper) ? `. hint: "${upper}" (uppercase) may be supported` : ''
  return `protocol ${JSON.stringify(protocol)} is unsupported${hint}`
}

interface Findings {
  readonly unsupported: string | null
  readonly tls: ListenerTls
  readonly missingTls: boolean
  readonly invalidKinds: boolean
}

const FINE = 'No errors found'
const CONFLICT = 'Listener has a conflict with another listener attached to the same Gateway'
const BAD_TLS = 'Bad TLS configuration'

/** Reasons of `ResolvedRefs` for which istiod also says that there is no authority to check clients against. */
const NO_AUTHORITY = new Set(['InvalidCACertificateRef', 'InvalidCACertificateKind', 'RefNotPermitted'])

/** In the order of their types, as Kubernetes prints them. */
function conditionsOf(protocol: string, { conflict, overlapping }: Place, findings: Findings): Condition[] {
  const { unsupported, tls, missingTls, invalidKinds } = findings
  const condition = (type: string, reason: string, message = FINE, status: Condition['status'] = 'True') => ({
    type,
    status,
    reason,
    message,
  })
  const list: Condition[] = []
  const { problem } = tls
  const noTls = `protocol is ${protocol} but no TLS section is defined`
  if (conflict) list.push(condition('Accepted', conflict, CONFLICT, 'False'))
  else if (unsupported) list.push(condition('Accepted', 'UnsupportedProtocol', unsupported, 'False'))
  else if (missingTls) list.push(condition('Accepted', 'UnsupportedProtocol', noTls, 'False'))
  else if (problem && NO_AUTHORITY.has(problem.reason))
    list.push(condition('Accepted', 'NoValidCACertificate', problem.message, 'False'))
  else list.push(condition('Accepted', 'Accepted'))
  list.push(
    conflict ? condition('Conflicted', conflict, CONFLICT) : condition('Conflicted', 'NoConflicts', FINE, 'False'),
  )
  if (overlapping.length > 0) {
    const names = overlapping.join(', ')
    list.push(condition('OverlappingTLSConfig', 'OverlappingHostnames', `the hostname overlaps with that of ${names}`))
  }
  if (conflict) list.push(condition('Programmed', conflict, CONFLICT, 'False'))
  else if (problem || missingTls) list.push(condition('Programmed', 'Invalid', BAD_TLS, 'False'))
  else list.push(condition('Programmed', 'Programmed'))
  // Of a listener that gives way nothing else is known.
  if (conflict && !invalidKinds) return list
  if (invalidKinds) {
    list.push(condition('ResolvedRefs', 'InvalidRouteKinds', 'Invalid route kinds', 'False'))
  } else if (problem) list.push(condition('ResolvedRefs', problem.reason, problem.message, 'False'))
  else list.push(condition('ResolvedRefs', 'ResolvedRefs'))
  return list
}
