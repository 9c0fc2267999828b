// Which of a listener's filter chains serves a connection: by filter_chain_matcher where there is one, else by the
// filter_chain_match of the chains.

import { ConnectionFacts } from '../matching/connection-facts.ts'
import type { MatchEnvironment } from '../matching/input-matchers.ts'
import { compileMatcher } from '../matching/matcher.ts'
import type { AcceptedSocket } from './accepted-socket.ts'
import { indexFilterChains, matchFilterChain } from './filter-chain-match.ts'
import type { ListenerConfig } from './listener-config.ts'

/** Nothing matched: the default filter chain serves, if there is one. */
export const DEFAULT_CHAIN = -1
/** The matcher named a chain that the listener does not have: nobody serves. */
const UNKNOWN_CHAIN = -2

/** Index of the chain, or one of the constants above. */
export type FilterChainChoice = (accepted: AcceptedSocket) => number

/** Never fails for what parseListener returned. */
export function compileFilterChainChoice(config: ListenerConfig, environment: MatchEnvironment): FilterChainChoice {
  const { filterChains, filterChainMatcher } = config
  const names = filterChains.map((chain) => chain.name)
  if (filterChainMatcher !== null) {
    const match = compileMatcher(filterChainMatcher, environment)
    const byName = new Map(names.map((name, i) => [name, i]))
    return ({ info, filterState, dynamicMetadata }) => {
      const name = match(new ConnectionFacts(info, filterState, dynamicMetadata))
      return name === null ? DEFAULT_CHAIN : (byName.get(name) ?? UNKNOWN_CHAIN)
    }
  }
  const index = indexFilterChains(
    filterChains.map((chain) => chain.match),
    names,
  )
  return ({ info }) =>
    matchFilterChain(index, {
      destinationIp: info.localAddress.ip,
      destinationPort: info.localAddress.port,
      serverName: info.requestedServerName,
      transportProtocol: info.transportProtocol,
      applicationProtocols: info.applicationProtocols,
      directSourceIp: info.directRemoteAddress.ip,
      sourceIp: info.remoteAddress.ip,
      sourcePort: info.remoteAddress.port,
    })
}
