// Names of hosts in DNS caches: `host:port`, as a request's authority or a server name gives them.

import { isIPv6 } from 'node:net'
import { portStart } from '../../route/request-path.ts'

/** With the port that is in it, else `defaultPort`. */
export function hostKey(authority: string, defaultPort: number): string {
  if (isIPv6(authority)) return `[${authority}]:${defaultPort}`
  return portStart(authority) < 0 ? `${authority}:${defaultPort}` : authority
}

/** The parts of a key; an IPv6 address without its brackets. */
export function splitHostKey(key: string): { readonly host: string; readonly port: number } {
  const at = key.lastIndexOf(':')
  const host = key.slice(0, at)
  return { host: host.startsWith('[') ? host.slice(1, -1) : host, port: Number(key.slice(at + 1)) }
}
