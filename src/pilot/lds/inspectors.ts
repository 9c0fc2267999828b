// Which ports need which listener filter: inspection costs a read, and breaks protocols where the server speaks first.
import { create } from '@bufbuild/protobuf'
import {
  type FilterChain,
  type ListenerFilterChainMatchPredicate,
  ListenerFilterChainMatchPredicateSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { PLAINTEXT_HTTP_ALPN } from './chain.ts'

export interface InspectedPorts {
  /** Every destination port that some chain names; 0 for the chains of all other ports. */
  readonly ports: ReadonlySet<number>
  readonly tls: ReadonlySet<number>
  readonly http: ReadonlySet<number>
}

/** What the chains of each port ask of the inspectors. */
export function inspectedPorts(chains: readonly FilterChain[]): InspectedPorts {
  const ports = new Set<number>()
  const tls = new Set<number>()
  const http = new Set<number>()
  for (const { filterChainMatch: match } of chains) {
    const port = match?.destinationPort ?? 0
    ports.add(port)
    if (!match) continue
    if (match.transportProtocol === 'tls' || match.serverNames.length > 0) tls.add(port)
    if (match.applicationProtocols.some((protocol) => PLAINTEXT_HTTP_ALPN.includes(protocol))) http.add(port)
  }
  return { ports, tls, http }
}

/**
 * Where tls_inspector is off. When the chains of other ports need it, the known ports that do not are excluded; when
 * they do not, it runs on the ports that need it only. Undefined: on everywhere.
 */
export function tlsDisabledOn({ ports, tls }: InspectedPorts): ListenerFilterChainMatchPredicate | undefined {
  if (tls.has(0)) return anyOf([...ports].filter((port) => !tls.has(port)))
  const needed = anyOf([...tls])
  return needed && create(ListenerFilterChainMatchPredicateSchema, { rule: { case: 'notMatch', value: needed } })
}

/** Where http_inspector is off: every known port whose chains do not need it. */
export function httpDisabledOn({ ports, http }: InspectedPorts): ListenerFilterChainMatchPredicate | undefined {
  return anyOf([...ports].filter((port) => !http.has(port)))
}

function anyOf(ports: number[]): ListenerFilterChainMatchPredicate | undefined {
  const rules = ports.sort((a, b) => a - b).map(portPredicate)
  if (rules.length <= 1) return rules[0]
  return create(ListenerFilterChainMatchPredicateSchema, { rule: { case: 'orMatch', value: { rules } } })
}

function portPredicate(port: number): ListenerFilterChainMatchPredicate {
  return create(ListenerFilterChainMatchPredicateSchema, {
    rule: { case: 'destinationPortRange', value: { start: port, end: port + 1 } },
  })
}
