// envoy.config.core.v3.Address and SocketOption → plain data.

import { isIP, isIPv6 } from 'node:net'
import {
  type Address as AddressMessage,
  SocketAddress_Protocol,
} from '../../api/gen/envoy/config/core/v3/address_pb.js'
import {
  SocketOption_SocketState,
  type SocketOption as SocketOptionMessage,
} from '../../api/gen/envoy/config/core/v3/socket_option_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { ipAddress, pipeAddress } from '../network/address.ts'
import type { Address } from '../network/connection.ts'
import { IP_FREEBIND, IP_TRANSPARENT, IPV6_TRANSPARENT, type SocketOption } from '../network/socket-options.ts'

/** An IP address with port, or a pipe. Throws ConfigError for names, named ports, UDP and internal addresses. */
export function parseAddress(message: AddressMessage, path: string): Address {
  const { address } = message
  if (address.case === 'pipe') return pipeAddress(address.value.path)
  if (address.case !== 'socketAddress')
    throw new ConfigError(path, 'needs socket_address or pipe; other kinds are not supported here')
  const socket = address.value
  if (socket.protocol !== SocketAddress_Protocol.TCP)
    throw new ConfigError(`${path}.socket_address.protocol`, 'only TCP is supported by this proxy')
  if (socket.resolverName !== '')
    throw new ConfigError(`${path}.socket_address.resolver_name`, `Unknown address resolver: ${socket.resolverName}`)
  if (isIP(socket.address) === 0)
    throw new ConfigError(`${path}.socket_address.address`, `malformed IP address: ${socket.address}`)
  if (socket.portSpecifier.case === 'namedPort')
    throw new ConfigError(`${path}.socket_address.named_port`, 'is not supported here; use port_value')
  return ipAddress(socket.address, socket.portSpecifier.value ?? 0)
}

/** Options for a socket before it binds. Throws ConfigError for states that Node gives no access to. */
export function parseSocketOptions(
  messages: readonly SocketOptionMessage[],
  extra: { readonly freebind: boolean; readonly transparent: boolean; readonly ip: string },
  path: string,
): SocketOption[] {
  const options = messages.map((message, i): SocketOption => {
    if (message.state !== SocketOption_SocketState.STATE_PREBIND)
      throw new ConfigError(`${path}[${i}].state`, 'only STATE_PREBIND is supported by this proxy')
    const level = Number(message.level)
    const name = Number(message.name)
    if (message.value.case === 'intValue') return { level, name, value: Number(message.value.value) }
    if (message.value.case === 'bufValue') return { level, name, value: message.value.value }
    throw new ConfigError(`${path}[${i}]`, 'needs int_value or buf_value')
  })
  if (extra.freebind) options.push({ ...IP_FREEBIND, value: 1 })
  if (extra.transparent) options.push({ ...(isIPv6(extra.ip) ? IPV6_TRANSPARENT : IP_TRANSPARENT), value: 1 })
  return options
}
