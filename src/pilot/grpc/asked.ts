// What a proxyless gRPC client asks for by the names of listeners.
import type { ProxyNode } from '../model/node.ts'

/** What a gRPC server asks for: this, and then `ip:port`. */
export const SERVER_LISTENER = 'xds.istio.io/grpc/lds/inbound/'

/** One host that is asked for, under every name it was called by. */
export interface AskedHost {
  /** As asked, without ports: a listener is made for each. */
  readonly names: Set<string>
  /** Null: every port of the service. */
  ports: Set<number> | null
}

/** Hosts by the name that a service may have; null: no name at all was given, everything is wanted. */
export type AskedHosts = ReadonlyMap<string, AskedHost> | null

/** Names of listeners: `host`, `host:port`, or those of servers. */
export function askedHosts(names: Iterable<string>, proxy: Pick<ProxyNode, 'namespace' | 'dnsDomain'>): AskedHosts {
  const hosts = new Map<string, AskedHost>()
  let any = false
  for (const name of names) {
    any = true
    if (name.startsWith(SERVER_LISTENER)) continue
    const { host, port } = splitHostPort(name)
    const full = fullName(host, proxy)
    for (const one of full === null ? [host] : [host, full]) {
      const known = hosts.get(one)
      if (!known) hosts.set(one, { names: new Set([host]), ports: port === null ? null : new Set([port]) })
      else {
        known.names.add(host)
        if (port === null) known.ports = null
        else known.ports?.add(port)
      }
    }
  }
  return any ? hosts : null
}

function splitHostPort(name: string): { host: string; port: number | null } {
  const found = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(name)
  return found ? { host: found[1] ?? found[2]!, port: Number(found[3]) } : { host: name, port: null }
}

/** What a short name means to a client in its namespace; null: it is none. */
function fullName(host: string, { namespace, dnsDomain }: Pick<ProxyNode, 'namespace' | 'dnsDomain'>): string | null {
  if (!host.includes('.')) return `${host}.${dnsDomain}`
  for (const suffix of [namespace, `${namespace}.svc`]) {
    if (host.endsWith(`.${suffix}`) && dnsDomain.startsWith(suffix)) {
      return `${host.slice(0, -suffix.length - 1)}.${dnsDomain}`
    }
  }
  return null
}
