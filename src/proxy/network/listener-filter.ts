// Listener filters: they look at an accepted socket before a filter chain is chosen (envoy-contract §4.4).

import type { SocketConnectionInfo } from './connection-info.ts'

/** Decides by the connection's destination port whether a filter is skipped. */
export type ListenerFilterPredicate =
  | { readonly kind: 'any' }
  /** Half-open: start ≤ port < end. */
  | { readonly kind: 'port'; readonly start: number; readonly end: number }
  | { readonly kind: 'not'; readonly rule: ListenerFilterPredicate }
  | { readonly kind: 'or' | 'and'; readonly rules: readonly ListenerFilterPredicate[] }

export function predicateHolds(predicate: ListenerFilterPredicate, destinationPort: number): boolean {
  switch (predicate.kind) {
    case 'any':
      return true
    case 'port':
      return destinationPort >= predicate.start && destinationPort < predicate.end
    case 'not':
      return !predicateHolds(predicate.rule, destinationPort)
    case 'or':
      return predicate.rules.some((rule) => predicateHolds(rule, destinationPort))
    case 'and':
      return predicate.rules.every((rule) => predicateHolds(rule, destinationPort))
  }
}

export const ListenerFilterStatus = {
  Continue: 0,
  /** Call again with more bytes. */
  NeedMore: 1,
  /** Close the connection. */
  Close: 2,
} as const
export type ListenerFilterStatus = (typeof ListenerFilterStatus)[keyof typeof ListenerFilterStatus]

/** What a listener filter sees of the accepted socket. */
export interface AcceptedSocketView {
  readonly info: SocketConnectionInfo
  /** For getsockopt; -1 for what has none. */
  readonly fd: number
  readonly ipv6: boolean
  /** iptables TPROXY brought it here: the local address is the original destination already. */
  readonly transparent: boolean
  /** Takes bytes off the front for good (PROXY protocol header). */
  consume(bytes: number): void
  /** Keyed results for later filters and logs. */
  setDynamicMetadata(namespace: string, key: string, value: unknown): void
  setFilterState(key: string, value: unknown): void
}

/** One instance per connection and filter. */
export interface ListenerFilter {
  /** Called once. `NeedMore` asks for onData. */
  onAccept(socket: AcceptedSocketView): ListenerFilterStatus
  /** `bytes`: everything received and not consumed so far, at least one byte. */
  onData?(bytes: Buffer): ListenerFilterStatus
}
