// envoy.filters.network.sni_dynamic_forward_proxy: the server name of a TLS client is resolved before tcp_proxy asks a
// dynamic forward proxy cluster for the host of that name.

import {
  type FilterConfig,
  FilterConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy_pb.js'
import type { NetworkFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { CloseType, ConnectionEvent } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import { DYNAMIC_HOST, DYNAMIC_PORT } from '../../../upstream/dynamic-forward-proxy/cluster.ts'
import { type DnsCacheData, parseDnsCache } from '../../../upstream/dynamic-forward-proxy/config.ts'
import {
  type DnsCache,
  type DnsCacheHost,
  type DnsCacheWaiter,
  LoadStatus,
} from '../../../upstream/dynamic-forward-proxy/dns-cache.ts'
import { hostKey } from '../../../upstream/dynamic-forward-proxy/host-key.ts'

interface SniForwardProxyConfig {
  readonly dnsCache: DnsCacheData
  readonly port: number
}

const DEFAULT_PORT = 443

function parse(config: FilterConfig, context: ParseContext): SniForwardProxyConfig {
  refuseUnsupported(FilterConfigSchema, config, new Set(['dns_cache_config', 'port_value']), context.path)
  return {
    // validate.rules ask for it.
    dnsCache: parseDnsCache(config.dnsCacheConfig!, context.at('dns_cache_config')),
    port: config.portSpecifier.case === 'portValue' ? config.portSpecifier.value : DEFAULT_PORT,
  }
}

class SniForwardProxyFilter implements NetworkFilter, DnsCacheWaiter {
  private readonly cache: DnsCache
  private readonly port: number
  private readonly callbacks: ReadFilterCallbacks
  private waitingFor = ''
  private pending = false

  constructor(cache: DnsCache, port: number, callbacks: ReadFilterCallbacks) {
    this.cache = cache
    this.port = port
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    const { connection, filterState } = this.callbacks
    const override = filterState.get(DYNAMIC_HOST)
    const name = typeof override === 'string' ? override : connection.info.requestedServerName
    if (name === '') return FilterStatus.Continue
    if (!this.cache.enterPending()) {
      connection.close(CloseType.NoFlush)
      return FilterStatus.StopIteration
    }
    this.pending = true
    const port = Number(filterState.get(DYNAMIC_PORT) ?? this.port)
    // The cluster looks the host up by the same port.
    filterState.set(DYNAMIC_PORT, port)
    const key = hostKey(name, port)
    switch (this.cache.load(key, this)) {
      case LoadStatus.Loading:
        this.waitingFor = key
        return FilterStatus.StopIteration
      case LoadStatus.Overflow:
        this.stopPending()
        connection.close(CloseType.NoFlush)
        return FilterStatus.StopIteration
      default:
        // Without an address the cluster has no such host, and tcp_proxy says so.
        this.stopPending()
        return FilterStatus.Continue
    }
  }

  onData(): FilterStatus {
    return this.waitingFor === '' ? FilterStatus.Continue : FilterStatus.StopIteration
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) return
    this.stopPending()
    if (this.waitingFor !== '') this.cache.cancel(this.waitingFor, this)
    this.waitingFor = ''
  }

  onLoaded(_host: DnsCacheHost): void {
    this.waitingFor = ''
    this.stopPending()
    this.callbacks.continueReading()
  }

  private stopPending(): void {
    if (this.pending) this.cache.leavePending()
    this.pending = false
  }
}

export const sniDynamicForwardProxy: NetworkFilterExtension<SniForwardProxyConfig> = {
  name: 'envoy.filters.network.sni_dynamic_forward_proxy',
  desc: FilterConfigSchema,
  parse: (message, context) => parse(message as FilterConfig, context),
  create(config, context) {
    const cache = context.clusters.dnsCache(config.dnsCache)
    return (callbacks) => new SniForwardProxyFilter(cache, config.port, callbacks)
  },
}
