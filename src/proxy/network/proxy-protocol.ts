// PROXY protocol headers that go ahead of an upstream connection's bytes
// (envoy.transport_sockets.upstream_proxy_protocol; haproxy.org/download/2.9/doc/proxy-protocol.txt).

import { isIPv4, isIPv6 } from 'node:net'
import {
  ProxyProtocolConfig_Version,
  type ProxyProtocolPassThroughTLVs,
  ProxyProtocolPassThroughTLVs_PassTLVsMatchType,
} from '../../api/gen/envoy/config/core/v3/proxy_protocol_pb.js'
import {
  type ProxyProtocolUpstreamTransport,
  ProxyProtocolUpstreamTransportSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.js'
import { parseIp } from '../../base/cidr.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext, ParsedExtension } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import type { Address } from './connection.ts'

/** A type-length-value of a version 2 header. */
export interface ProxyTlv {
  readonly type: number
  readonly value: Uint8Array
}

/** Which TLVs of the downstream header go on. */
export interface PassThroughTlvs {
  readonly all: boolean
  readonly types: readonly number[]
}

export interface ProxyProtocolConfig {
  readonly version: 1 | 2
  readonly passThrough: PassThroughTlvs
  readonly added: readonly ProxyTlv[]
  /** What carries the bytes after the header. */
  readonly inner: ParsedExtension
}

/** Filter state under which the header of a downstream connection is kept, as Envoy names it. */
export const PROXY_PROTOCOL_STATE = 'envoy.network.proxy_protocol_options'

/** What a downstream PROXY header said, as far as it goes on. */
export interface DownstreamProxyHeader {
  readonly source: Address
  readonly destination: Address
  readonly tlvs: readonly ProxyTlv[]
}

export function parsePassThrough(message: ProxyProtocolPassThroughTLVs | undefined): PassThroughTlvs {
  if (!message) return { all: false, types: [] }
  const all = message.matchType === ProxyProtocolPassThroughTLVs_PassTLVsMatchType.INCLUDE_ALL
  return { all, types: all ? [] : message.tlvType }
}

export function passes(rule: PassThroughTlvs, type: number): boolean {
  return rule.all || rule.types.includes(type)
}

/** Throws ConfigError. */
export function parseProxyProtocolSocket(
  message: ProxyProtocolUpstreamTransport,
  context: ParseContext,
): ProxyProtocolConfig {
  refuseUnsupported(
    ProxyProtocolUpstreamTransportSchema,
    message,
    new Set(['config', 'transport_socket']),
    context.path,
  )
  const { config, transportSocket } = message
  const version = config?.version === ProxyProtocolConfig_Version.V2 ? 2 : 1
  const added = (config?.addedTlvs ?? []).map((tlv, i): ProxyTlv => {
    const at = context.at(`config.added_tlvs[${i}]`)
    if (tlv.formatString) throw new ConfigError(at.at('format_string').path, 'not supported by this proxy')
    return { type: tlv.type, value: tlv.value }
  })
  return {
    version,
    passThrough: parsePassThrough(config?.passThroughTlvs),
    added,
    inner: context
      .at('transport_socket.typed_config')
      .parseAny('transport_socket', transportSocket?.configType.value, transportSocket?.name ?? ''),
  }
}

/**
 * The header of a connection whose client is `source` and wanted to reach `destination`; null = a connection of the
 * proxy's own (health checks), whose `local` and `remote` addresses stand in version 1 and whose command is LOCAL in
 * version 2.
 */
export function proxyHeader(
  config: Omit<ProxyProtocolConfig, 'inner'>,
  downstream: DownstreamProxyHeader | null,
  local: Address,
  remote: Address,
): Buffer {
  if (config.version === 1) return headerV1(downstream?.source ?? local, downstream?.destination ?? remote)
  if (downstream === null) return headerV2(LOCAL, null, [])
  const passed = downstream.tlvs.filter((tlv) => passes(config.passThrough, tlv.type))
  const own = config.added.filter((tlv) => !passed.some((other) => other.type === tlv.type))
  return headerV2(PROXY, downstream, [...own, ...passed])
}

function headerV1(source: Address, destination: Address): Buffer {
  const family = isIPv4(source.ip) && isIPv4(destination.ip) ? 'TCP4' : isIPv6(source.ip) ? 'TCP6' : null
  if (family === null) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1')
  return Buffer.from(`PROXY ${family} ${source.ip} ${destination.ip} ${source.port} ${destination.port}\r\n`, 'latin1')
}

const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
/** Version 2 with its command. */
const LOCAL = 0x20
const PROXY = 0x21
const FAMILY_UNSPECIFIED = 0x00
const TCP_OVER_IPV4 = 0x11
const TCP_OVER_IPV6 = 0x21
const MAX_LENGTH = 0xffff

function headerV2(
  command: number,
  addresses: { readonly source: Address; readonly destination: Address } | null,
  tlvs: readonly ProxyTlv[],
): Buffer {
  const block = addresses === null ? null : addressBlock(addresses.source, addresses.destination)
  const parts: Uint8Array[] = block === null ? [] : [block.bytes]
  let length = block?.bytes.length ?? 0
  for (const { type, value } of tlvs) {
    // What does not fit the header's length is left out, as Envoy does.
    if (length + 3 + value.length > MAX_LENGTH) continue
    parts.push(Buffer.from([type, value.length >> 8, value.length & 0xff]), value)
    length += 3 + value.length
  }
  const head = Buffer.from([command, block?.family ?? FAMILY_UNSPECIFIED, length >> 8, length & 0xff])
  return Buffer.concat([SIGNATURE, head, ...parts])
}

function addressBytes(ip: string): Buffer | null {
  const bits = parseIp(ip)
  if (bits === null) return null
  const bytes = Buffer.alloc(4 * bits.words.length)
  for (const [i, word] of bits.words.entries()) bytes.writeUInt32BE(word, 4 * i)
  return bytes
}

function addressBlock(source: Address, destination: Address): { family: number; bytes: Buffer } | null {
  const from = addressBytes(source.ip)
  const to = addressBytes(destination.ip)
  if (from === null || to === null || from.length !== to.length) return null
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(source.port, 0)
  ports.writeUInt16BE(destination.port, 2)
  return { family: from.length === 4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, bytes: Buffer.concat([from, to, ports]) }
}
