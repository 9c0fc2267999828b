// Which listeners of one Gateway cannot stand beside each other, and whose TLS overlaps.
import type { GatewayApiListener } from '../../config/index.ts'
import { hostSubsetOf } from '../model/host.ts'

/** A reason of the listener condition `Conflicted`. */
export type ConflictReason = 'ProtocolConflict' | 'HostnameConflict'

type Listener = Pick<GatewayApiListener, 'name' | 'port' | 'protocol' | 'hostname' | 'tls'>

/**
 * Why each listener conflicts; null: it stands. `listeners` in precedence: those of the Gateway, then of its
 * ListenerSets by age. A listener that loses holds up nobody.
 */
export function listenerConflicts(listeners: readonly Listener[]): (ConflictReason | null)[] {
  const standing: Listener[] = []
  return listeners.map((listener) => {
    for (const prior of standing) {
      const reason = conflict(listener, prior)
      if (reason) return reason
    }
    standing.push(listener)
    return null
  })
}

const HTTP_LIKE = new Set(['HTTP', 'HTTPS', 'TLS'])
const L4 = new Set(['TCP', 'UDP'])

function conflict(a: Listener, b: Listener): ConflictReason | null {
  if (a.port !== b.port) return null
  if (L4.has(a.protocol) || L4.has(b.protocol)) {
    const known = (protocol: string) => L4.has(protocol) || HTTP_LIKE.has(protocol)
    return known(a.protocol) && known(b.protocol) ? 'ProtocolConflict' : null
  }
  if (HTTP_LIKE.has(a.protocol) && HTTP_LIKE.has(b.protocol)) {
    if ((a.hostname || '*') !== (b.hostname || '*')) return null
    return a.protocol === b.protocol ? 'HostnameConflict' : 'ProtocolConflict'
  }
  return a.protocol === b.protocol ? 'HostnameConflict' : null
}

/**
 * Names of the other HTTPS listeners on the port whose hostnames overlap with the listener's: an HTTP/2 connection
 * opened for one may carry requests for the other, past its TLS settings.
 */
export function overlappingTls(listener: Listener, listeners: readonly Listener[]): string[] {
  if (!terminates(listener)) return []
  const own = listener.hostname || '*'
  return listeners
    .filter((other) => {
      if (other === listener || other.port !== listener.port || !terminates(other)) return false
      const host = other.hostname || '*'
      return host !== own && (hostSubsetOf(host, own) || hostSubsetOf(own, host))
    })
    .map(({ name }) => name)
}

function terminates({ protocol, tls }: Listener): boolean {
  return protocol === 'HTTPS' && tls !== undefined && tls.mode !== 'Passthrough'
}
