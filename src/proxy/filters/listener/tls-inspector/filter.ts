// envoy.filters.listener.tls_inspector: reads the client hello without consuming it (envoy-contract §4.4).

import {
  type TlsInspector,
  TlsInspectorSchema,
} from '../../../../api/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import { parseClientHello } from '../../../network/client-hello.ts'
import { type AcceptedSocketView, type ListenerFilter, ListenerFilterStatus } from '../../../network/listener-filter.ts'
import type { ListenerFilterExtension } from '../../../network/listener-filters.ts'
import { ja3, ja4 } from '../../../network/tls-fingerprint.ts'
import type { Counter, Histogram, Scope } from '../../../observe/stats.ts'
import { parseTlsInspector, type TlsInspectorConfig } from './config.ts'

interface Stats {
  readonly clientHelloTooLarge: Counter
  readonly tlsFound: Counter
  readonly tlsNotFound: Counter
  readonly alpnFound: Counter
  readonly alpnNotFound: Counter
  readonly sniFound: Counter
  readonly sniNotFound: Counter
  readonly bytesProcessed: Histogram
}

export const tlsInspector: ListenerFilterExtension<TlsInspectorConfig> = {
  name: 'envoy.filters.listener.tls_inspector',
  desc: TlsInspectorSchema,
  parse: (message, context) => parseTlsInspector(message as TlsInspector, context),
  create: (config, environment) => {
    const stats = createStats(environment.base.stats.scope('tls_inspector'))
    return () => new TlsInspectorFilter(config, stats)
  },
}

function createStats(scope: Scope): Stats {
  return {
    clientHelloTooLarge: scope.counter('client_hello_too_large'),
    tlsFound: scope.counter('tls_found'),
    tlsNotFound: scope.counter('tls_not_found'),
    alpnFound: scope.counter('alpn_found'),
    alpnNotFound: scope.counter('alpn_not_found'),
    sniFound: scope.counter('sni_found'),
    sniNotFound: scope.counter('sni_not_found'),
    bytesProcessed: scope.histogram('bytes_processed', 'bytes'),
  }
}

class TlsInspectorFilter implements ListenerFilter {
  private readonly config: TlsInspectorConfig
  private readonly stats: Stats
  private socket: AcceptedSocketView | null = null

  constructor(config: TlsInspectorConfig, stats: Stats) {
    this.config = config
    this.stats = stats
  }

  onAccept(socket: AcceptedSocketView): ListenerFilterStatus {
    this.socket = socket
    return ListenerFilterStatus.NeedMore
  }

  onData(bytes: Buffer): ListenerFilterStatus {
    const { stats } = this
    const result = parseClientHello(bytes, this.config.maxHelloBytes)
    switch (result.kind) {
      case 'need-more':
        return ListenerFilterStatus.NeedMore
      case 'too-large':
        stats.clientHelloTooLarge.inc()
        return ListenerFilterStatus.Close
      case 'not-tls':
        stats.tlsNotFound.inc()
        stats.bytesProcessed.record(bytes.length)
        return this.config.closeOnErrors ? ListenerFilterStatus.Close : ListenerFilterStatus.Continue
      case 'hello': {
        const { hello } = result
        const { info } = this.socket!
        stats.tlsFound.inc()
        ;(hello.alpn.length > 0 ? stats.alpnFound : stats.alpnNotFound).inc()
        ;(hello.serverName !== '' ? stats.sniFound : stats.sniNotFound).inc()
        stats.bytesProcessed.record(hello.length)
        info.transportProtocol = 'tls'
        info.requestedServerName = hello.serverName
        if (this.config.ja3) info.ja3Hash = ja3(hello.body)
        if (this.config.ja4) info.ja4Hash = ja4(hello.body)
        if (hello.alpn.length > 0) info.applicationProtocols = hello.alpn
        return ListenerFilterStatus.Continue
      }
    }
  }
}
