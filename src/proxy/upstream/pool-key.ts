// What of a request sets the connections made for it apart from others to the same host.

import { isIP } from 'node:net'
import type { ConnectionInfo } from '../network/connection.ts'
import { type DownstreamProxyHeader, PROXY_PROTOCOL_STATE } from '../network/proxy-protocol.ts'
import { portStart } from '../route/request-path.ts'
import type { LoadBalancerContext } from './cluster-manager.ts'
import type { ClusterData } from './config.ts'
import type { Host } from './host.ts'
import { DEFAULT_TRANSPORT, type TransportChoice } from './pool-environment.ts'

/** What another filter asked for, else the request's host where auto_sni says so; null = as configured. */
export function serverName(data: ClusterData, host: Host, context: LoadBalancerContext): string | null {
  if (context.sniOverride !== null) return context.sniOverride
  const { autoSni, overrideAutoSniHeader } = data.http
  const { headers } = context
  if (!autoSni || headers === null || host.transportSocket.protocol !== 'tls') return null
  const authority = (overrideAutoSniHeader !== '' && headers.get(overrideAutoSniHeader)) || headers.authority
  const port = portStart(authority)
  const name = port < 0 ? authority : authority.slice(0, port)
  // Server names are names: RFC 6066 §3 allows no address.
  return name === '' || isIP(name) !== 0 || name.startsWith('[') ? null : name
}

/** What of the downstream sets its upstream connections apart from others'; '' = nothing, the usual case. */
export function downstreamKey(data: ClusterData, host: Host, context: LoadBalancerContext): string {
  const { downstream } = context
  if (downstream === null) return ''
  let key = data.connectionPoolPerDownstreamConnection ? `cx${downstream.connectionId}` : ''
  const source = downstream.upstreamSource ?? null
  if (source !== null) key += `|from${source.address.text}`
  if (host.transportSocket.proxyProtocol !== null) {
    const { source: from, destination, tlvs } = downstreamHeader(context, downstream)
    key += `|proxy${from.text}>${destination.text}`
    for (const { type, value } of tlvs) key += `,${type}=${Buffer.from(value).toString('base64')}`
  }
  return key
}

/** The choices of a new pool; `key` is downstreamKey's. */
export function choiceOf(host: Host, context: LoadBalancerContext, sni: string | null, key: string): TransportChoice {
  const alpn = context.alpnOverride
  if (key === '') return alpn === null && sni === null ? DEFAULT_TRANSPORT : { ...DEFAULT_TRANSPORT, alpn, sni }
  const { downstream } = context
  const proxied = downstream !== null && host.transportSocket.proxyProtocol !== null
  return {
    alpn,
    sni,
    key,
    downstream: proxied ? downstreamHeader(context, downstream) : null,
    source: downstream?.upstreamSource ?? null,
  }
}

/** What the client's own PROXY header said, else the addresses of its connection. */
function downstreamHeader(context: LoadBalancerContext, downstream: ConnectionInfo): DownstreamProxyHeader {
  const state = context.downstreamState?.get(PROXY_PROTOCOL_STATE) as DownstreamProxyHeader | undefined
  return state ?? { source: downstream.remoteAddress, destination: downstream.localAddress, tlvs: [] }
}
