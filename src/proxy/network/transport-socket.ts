// Transport sockets: what turns a TCP connection into the bytes that filters see. Plain and TLS.

import type { DescMessage, Message } from '@bufbuild/protobuf'
import {
  type ProxyProtocolUpstreamTransport,
  ProxyProtocolUpstreamTransportSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.js'
import { RawBufferSchema } from '../../api/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import {
  type DownstreamTlsContext,
  DownstreamTlsContextSchema,
  type UpstreamTlsContext,
  UpstreamTlsContextSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { ParseContext, ParsedExtension } from '../config/extension.ts'
import type { Scope } from '../observe/stats.ts'
import type { ClientTls } from './connect.ts'
import { type ProxyProtocolConfig, parseProxyProtocolSocket } from './proxy-protocol.ts'
import { checkClientTls, UpstreamTlsFactory } from './tls/client-context.ts'
import type { SecretStore } from './tls/secret-store.ts'
import { checkServerTls, DownstreamTlsFactory } from './tls/server-context.ts'
import {
  type DownstreamTlsConfig,
  parseDownstreamTls,
  parseUpstreamTls,
  type UpstreamTlsConfig,
} from './tls/tls-config.ts'

/** An upstream transport socket in a worker, shared by the connections of a cluster. */
export interface UpstreamTransportSocket {
  /** `tls` or `raw_buffer`. */
  readonly protocol: 'tls' | 'raw_buffer'
  /** False while a secret that it needs has not come: connections cannot be made. */
  readonly ready: boolean
  /** The header that goes ahead of every connection's bytes; null = none. */
  readonly proxyProtocol: ProxyProtocolConfig | null
  /**
   * For openConnection: null = plain. `sni` and `alpn` replace what is configured when not null; `alpnFallback` is offered
   * where neither names a protocol.
   */
  clientTls(sni: string | null, alpn: readonly string[] | null, alpnFallback: readonly string[]): ClientTls | null
  close(): void
}

const PLAIN: UpstreamTransportSocket = {
  protocol: 'raw_buffer',
  ready: true,
  proxyProtocol: null,
  clientTls: () => null,
  close() {},
}

class TlsUpstream implements UpstreamTransportSocket {
  readonly protocol = 'tls'
  readonly proxyProtocol = null
  private readonly factory: UpstreamTlsFactory
  constructor(factory: UpstreamTlsFactory) {
    this.factory = factory
  }
  get ready(): boolean {
    return this.factory.ready
  }
  clientTls(sni: string | null, alpn: readonly string[] | null, alpnFallback: readonly string[]): ClientTls | null {
    return this.factory.clientTls(sni, alpn, alpnFallback)
  }
  close(): void {
    this.factory.close()
  }
}

/** A PROXY header, then what the inner socket does. */
class ProxyProtocolUpstream implements UpstreamTransportSocket {
  readonly proxyProtocol: ProxyProtocolConfig
  private readonly inner: UpstreamTransportSocket
  constructor(config: ProxyProtocolConfig, inner: UpstreamTransportSocket) {
    this.proxyProtocol = config
    this.inner = inner
  }
  get protocol(): 'tls' | 'raw_buffer' {
    return this.inner.protocol
  }
  get ready(): boolean {
    return this.inner.ready
  }
  clientTls(sni: string | null, alpn: readonly string[] | null, alpnFallback: readonly string[]): ClientTls | null {
    return this.inner.clientTls(sni, alpn, alpnFallback)
  }
  close(): void {
    this.inner.close()
  }
}

/** `parsed` comes from parseAny('transport_socket', …); null = no transport socket configured = plain. */
export function createUpstreamTransportSocket(
  parsed: ParsedExtension | null,
  secrets: SecretStore,
  clusterScope: Scope,
): UpstreamTransportSocket {
  if (parsed === null || parsed.typeUrl === RawBufferSchema.typeName) return PLAIN
  if (parsed.typeUrl === ProxyProtocolUpstreamTransportSchema.typeName) {
    const config = parsed.config as ProxyProtocolConfig
    return new ProxyProtocolUpstream(config, createUpstreamTransportSocket(config.inner, secrets, clusterScope))
  }
  return new TlsUpstream(new UpstreamTlsFactory(parsed.config as UpstreamTlsConfig, secrets, clusterScope))
}

/** null = plain. */
export function createDownstreamTransportSocket(
  parsed: ParsedExtension | null,
  secrets: SecretStore,
  listenerScope: Scope,
): DownstreamTlsFactory | null {
  if (parsed === null || parsed.typeUrl === RawBufferSchema.typeName) return null
  return new DownstreamTlsFactory(parsed.config as DownstreamTlsConfig, secrets, listenerScope)
}

export interface TransportSocketExtension {
  readonly name: string
  readonly desc: DescMessage
  parse(message: Message, context: ParseContext): unknown
}

/** For filters/register.ts. */
export const transportSockets: readonly TransportSocketExtension[] = [
  { name: 'envoy.transport_sockets.raw_buffer', desc: RawBufferSchema, parse: () => ({}) },
  {
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    desc: ProxyProtocolUpstreamTransportSchema,
    parse: (message, context) => parseProxyProtocolSocket(message as ProxyProtocolUpstreamTransport, context),
  },
  {
    name: 'envoy.transport_sockets.tls',
    desc: DownstreamTlsContextSchema,
    parse: (message, context) =>
      checked(parseDownstreamTls(message as DownstreamTlsContext, context), checkServerTls, context),
  },
  {
    name: 'envoy.transport_sockets.tls',
    desc: UpstreamTlsContextSchema,
    parse: (message, context) =>
      checked(parseUpstreamTls(message as UpstreamTlsContext, context), checkClientTls, context),
  },
]

function checked<C>(config: C, check: (config: C) => void, context: ParseContext): C {
  try {
    check(config)
  } catch (error) {
    throw new ConfigError(context.path, `Failed to load certificates, keys or TLS parameters: ${errorText(error)}`, {
      cause: error,
    })
  }
  return config
}
