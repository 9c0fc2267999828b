// Socket options that Node has no API for, by libc through koffi.
// koffi is loaded at the first use: most proxies outside a mesh never need it.

import { createRequire } from 'node:module'
import { isIPv6 } from 'node:net'
import { parseIp } from '../../base/cidr.ts'
import { ConfigError } from '../../base/errors.ts'
import { ipAddress } from './address.ts'
import type { Address } from './connection.ts'

/** One setsockopt call. Level and name are the platform's numbers, as in envoy.config.core.v3.SocketOption. */
export interface SocketOption {
  readonly level: number
  readonly name: number
  readonly value: number | Uint8Array
}

export const SOL_SOCKET = 1
export const SO_MARK = 36
export const IP_TRANSPARENT: Omit<SocketOption, 'value'> = { level: 0, name: 19 }
export const IPV6_TRANSPARENT: Omit<SocketOption, 'value'> = { level: 41, name: 75 }
export const IP_FREEBIND: Omit<SocketOption, 'value'> = { level: 0, name: 15 }

const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOL_IP = 0
const SOL_IPV6 = 41
const SO_ORIGINAL_DST = 80

interface Libc {
  socket(domain: number, type: number, protocol: number): number
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number
  getsockopt(fd: number, level: number, name: number, value: Buffer, length: Int32Array): number
  bind(fd: number, address: Buffer, length: number): number
  close(fd: number): number
  fcntl(fd: number, command: number, type: string, argument: number): number
  errno(): number
}

let loaded: Libc | undefined

function libc(): Libc {
  if (loaded) return loaded
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  const library = koffi.load(null)
  loaded = {
    socket: library.func('int socket(int domain, int type, int protocol)'),
    setsockopt: library.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
    getsockopt: library.func('int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ int *length)'),
    bind: library.func('int bind(int fd, const void *address, uint32_t length)'),
    close: library.func('int close(int fd)'),
    fcntl: library.func('int fcntl(int fd, int command, ...)'),
    errno: () => koffi.errno(),
  } as Libc
  return loaded
}

const addressBuffer = Buffer.alloc(28)
const lengthBuffer = new Int32Array(1)

/**
 * Where a connection redirected by iptables wanted to go, or null when it was not redirected (or conntrack has forgotten
 * it). `fd` is an accepted TCP socket.
 */
export function originalDestination(fd: number, ipv6: boolean): Address | null {
  if (fd < 0) return null
  lengthBuffer[0] = addressBuffer.length
  if (libc().getsockopt(fd, ipv6 ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, addressBuffer, lengthBuffer) !== 0) return null
  const port = addressBuffer.readUInt16BE(2)
  if (!ipv6) return ipAddress(`${addressBuffer[4]}.${addressBuffer[5]}.${addressBuffer[6]}.${addressBuffer[7]}`, port)
  return ipAddress(ipv6Text(addressBuffer.subarray(8, 24)), port)
}

/** RFC 5952: the longest run of zero groups (at least two) becomes `::`. */
export function ipv6Text(bytes: Uint8Array): string {
  const groups: string[] = []
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i]! << 8) | bytes[i + 1]!).toString(16))
  let best = -1
  let bestLength = 1
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === '0') length++
    if (length > bestLength) {
      best = i
      bestLength = length
    }
    if (length > 0) i += length - 1
  }
  if (best < 0) return groups.join(':')
  return `${groups.slice(0, best).join(':')}::${groups.slice(best + bestLength).join(':')}`
}

/** Sets options on an open descriptor. Throws ConfigError naming the option that the kernel refuses. */
export function setSocketOptions(fd: number, options: readonly SocketOption[]): void {
  for (const option of options) {
    const value = typeof option.value === 'number' ? int32(option.value) : Buffer.from(option.value)
    if (libc().setsockopt(fd, option.level, option.name, value, value.length) !== 0) {
      throw new ConfigError(
        'socket_options',
        `setsockopt(${option.level}, ${option.name}) failed: errno ${libc().errno()}`,
      )
    }
  }
}

const F_DUPFD_CLOEXEC = 1030

/** Another descriptor of the same socket, which the caller owns; -1 = there is none to be had. */
export function duplicateDescriptor(fd: number): number {
  return libc().fcntl(fd, F_DUPFD_CLOEXEC, 'int', 0)
}

export function closeDescriptor(fd: number): void {
  libc().close(fd)
}

/** An unconnected TCP socket of the family of `ip` with options set; the caller owns the descriptor. */
export function socketWithOptions(ip: string, options: readonly SocketOption[]): number {
  const family = isIPv6(ip) ? AF_INET6 : AF_INET
  const fd = libc().socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
  if (fd < 0) throw new ConfigError('socket_options', `socket() failed: errno ${libc().errno()}`)
  try {
    setSocketOptions(fd, options)
  } catch (error) {
    libc().close(fd)
    throw error
  }
  return fd
}

function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32LE(value)
  return buffer
}

const SO_REUSEADDR = 2
const SO_REUSEPORT = 15

/** A bound TCP socket with options set before bind; listen on the descriptor. Throws ConfigError with the system's reason. */
export function boundSocket(address: Address, options: readonly SocketOption[], reusePort: boolean): number {
  const reuse: SocketOption[] = [{ level: SOL_SOCKET, name: SO_REUSEADDR, value: 1 }]
  if (reusePort) reuse.push({ level: SOL_SOCKET, name: SO_REUSEPORT, value: 1 })
  const fd = socketWithOptions(address.ip, [...reuse, ...options])
  const sockaddr = socketAddress(address)
  if (libc().bind(fd, sockaddr, sockaddr.length) !== 0) {
    const errno = libc().errno()
    libc().close(fd)
    throw new ConfigError('address', `cannot bind '${address.text}': errno ${errno}`)
  }
  return fd
}

/** sockaddr_in or sockaddr_in6. */
function socketAddress(address: Address): Buffer {
  const bits = parseIp(address.ip)
  if (bits === null) throw new ConfigError('address', `malformed IP address: ${address.ip}`)
  const v6 = isIPv6(address.ip)
  const buffer = Buffer.alloc(v6 ? 28 : 16)
  buffer.writeUInt16LE(v6 ? AF_INET6 : AF_INET, 0)
  buffer.writeUInt16BE(address.port, 2)
  if (!v6) buffer.writeUInt32BE(bits.words[0]!, 4)
  else if (bits.v6) for (let i = 0; i < 4; i++) buffer.writeUInt32BE(bits.words[i]!, 8 + 4 * i)
  else {
    // v4-mapped: ::ffff:a.b.c.d
    buffer.writeUInt16BE(0xffff, 18)
    buffer.writeUInt32BE(bits.words[0]!, 20)
  }
  return buffer
}
