// Addresses as Envoy prints them.

import { isIPv6 } from 'node:net'
import type { Address } from './connection.ts'

/** `ip:port`, `[v6]:port`. */
export function ipAddress(ip: string, port: number): Address {
  return { ip, port, text: isIPv6(ip) ? `[${ip}]:${port}` : `${ip}:${port}` }
}

/** A Unix socket; a leading `@` means the abstract namespace, as in Envoy's configuration. */
export function pipeAddress(path: string): Address {
  return { ip: '', port: 0, pipe: path, text: path }
}

/** Equal by what they point at. */
export function sameAddress(a: Address, b: Address): boolean {
  return a.text === b.text
}

/** Where Node wants a Unix socket's path: the abstract namespace begins with a zero byte there. */
export function pipePath(path: string): string {
  return path.startsWith('@') ? `\0${path.slice(1)}` : path
}

/** `0.0.0.0` or `::`, in any spelling that a configuration may use. */
export function isAnyAddress(ip: string): boolean {
  return ip === '0.0.0.0' || ip === '::' || (isIPv6(ip) && /^[0:]+$/.test(ip))
}
