// envoy.filters.listener.proxy_protocol (envoy-contract §4.4).

import { ProxyProtocolConfig_Version } from '../../../../api/gen/envoy/config/core/v3/proxy_protocol_pb.js'
import {
  type ProxyProtocol,
  ProxyProtocolSchema,
} from '../../../../api/gen/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.js'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { ipAddress } from '../../../network/address.ts'
import { type AcceptedSocketView, type ListenerFilter, ListenerFilterStatus } from '../../../network/listener-filter.ts'
import type { ListenerFilterExtension } from '../../../network/listener-filters.ts'
import {
  type DownstreamProxyHeader,
  type PassThroughTlvs,
  PROXY_PROTOCOL_STATE,
  parsePassThrough,
  passes,
} from '../../../network/proxy-protocol.ts'
import type { Counter } from '../../../observe/stats.ts'
import { type ProxyHeader, parseProxyHeader } from './header.ts'

export interface ProxyProtocolFilterConfig {
  readonly rules: readonly { readonly tlvType: number; readonly namespace: string; readonly key: string }[]
  readonly allowWithout: boolean
  readonly disallowedVersions: readonly number[]
  readonly statPrefix: string
  /** TLVs that an upstream PROXY protocol socket may send on. */
  readonly passThrough: PassThroughTlvs
}

const FIELDS = new Set([
  'rules',
  'allow_requests_without_proxy_protocol',
  'disallowed_versions',
  'stat_prefix',
  'pass_through_tlvs',
])
const NAMESPACE = 'envoy.filters.listener.proxy_protocol'

interface Stats {
  readonly notFoundAllowed: Counter
  readonly notFoundDisallowed: Counter
  found(version: 1 | 2): Counter
  disallowed(version: 1 | 2): Counter
  error(version: 1 | 2): Counter
}

export const proxyProtocol: ListenerFilterExtension<ProxyProtocolFilterConfig> = {
  name: 'envoy.filters.listener.proxy_protocol',
  desc: ProxyProtocolSchema,
  parse: (message, context) => {
    const config = message as ProxyProtocol
    refuseUnsupported(ProxyProtocolSchema, config, FIELDS, context.path)
    return {
      rules: config.rules.map((rule) => ({
        tlvType: rule.tlvType,
        namespace: rule.onTlvPresent?.metadataNamespace || NAMESPACE,
        key: rule.onTlvPresent?.key ?? '',
      })),
      allowWithout: config.allowRequestsWithoutProxyProtocol,
      disallowedVersions: config.disallowedVersions.map((v) => (v === ProxyProtocolConfig_Version.V1 ? 1 : 2)),
      statPrefix: config.statPrefix,
      passThrough: parsePassThrough(config.passThroughTlvs),
    }
  },
  create: (config, environment) => {
    const scope = environment.base.stats.scope(config.statPrefix ? `proxy_proto.${config.statPrefix}` : 'proxy_proto')
    const stats: Stats = {
      notFoundAllowed: scope.counter('not_found_allowed'),
      notFoundDisallowed: scope.counter('not_found_disallowed'),
      found: (version) => scope.counter(`versions.v${version}.found`),
      disallowed: (version) => scope.counter(`versions.v${version}.disallowed`),
      error: (version) => scope.counter(`versions.v${version}.error`),
    }
    return () => new ProxyProtocolFilter(config, stats)
  },
}

class ProxyProtocolFilter implements ListenerFilter {
  private readonly config: ProxyProtocolFilterConfig
  private readonly stats: Stats
  private socket: AcceptedSocketView | null = null

  constructor(config: ProxyProtocolFilterConfig, stats: Stats) {
    this.config = config
    this.stats = stats
  }

  onAccept(socket: AcceptedSocketView): ListenerFilterStatus {
    this.socket = socket
    return ListenerFilterStatus.NeedMore
  }

  onData(bytes: Buffer): ListenerFilterStatus {
    const { config, stats } = this
    const result = parseProxyHeader(bytes)
    switch (result.kind) {
      case 'need-more':
        return ListenerFilterStatus.NeedMore
      case 'absent':
        if (config.allowWithout) {
          stats.notFoundAllowed.inc()
          return ListenerFilterStatus.Continue
        }
        stats.notFoundDisallowed.inc()
        return ListenerFilterStatus.Close
      case 'invalid':
        stats.error(result.version).inc()
        return ListenerFilterStatus.Close
      case 'header':
        return this.accept(result.header)
    }
  }

  private accept(header: ProxyHeader): ListenerFilterStatus {
    const { version } = header
    if (this.config.disallowedVersions.includes(version)) {
      this.stats.disallowed(version).inc()
      return ListenerFilterStatus.Close
    }
    this.stats.found(version).inc()
    const socket = this.socket!
    const { info } = socket
    if (header.addresses !== null) {
      const { source, destination } = header.addresses
      info.remoteAddress = ipAddress(source.ip, source.port)
      const local = ipAddress(destination.ip, destination.port)
      if (local.text !== info.localAddress.text) {
        info.localAddress = local
        info.localAddressRestored = true
      }
    }
    for (const { type, value } of header.tlvs) {
      for (const rule of this.config.rules) {
        if (rule.tlvType === type) socket.setDynamicMetadata(rule.namespace, rule.key, value.toString('utf8'))
      }
    }
    const tlvs = header.tlvs
      .filter(({ type }) => passes(this.config.passThrough, type))
      .map(({ type, value }) => ({ type, value: Buffer.from(value) }))
    const passed: DownstreamProxyHeader = { source: info.remoteAddress, destination: info.localAddress, tlvs }
    socket.setFilterState(PROXY_PROTOCOL_STATE, passed)
    socket.consume(header.length)
    return ListenerFilterStatus.Continue
  }
}
