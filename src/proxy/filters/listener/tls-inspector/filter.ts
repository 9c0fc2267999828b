// envoy.filters.listener.tls_inspector: reads the client hello without consuming it (envoy-contract §4.4).

import {
  type TlsInspector,
  TlsInspectorSchema,
} from '../../../../api/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import { parseClientHello } from '../../../network/client-hello.ts'
import { type AcceptedSocketView, type ListenerFilter, ListenerFilterStatus } from '../../../network/listener-filter.ts'
import type { ListenerFilterExtension } from '../../../network/listener-filters.ts'
import type { Counter, Histogram, Scope } from '../../../observe/stats.ts'
import { parseTlsInspector } from './config.ts'

/** Envoy's limit of a client hello. */
const MAX_CLIENT_HELLO_BYTES = 16 * 1024

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

export const tlsInspector: ListenerFilterExtension<null> = {
  name: 'envoy.filters.listener.tls_inspector',
  desc: TlsInspectorSchema,
  parse: (message, context) => parseTlsInspector(message as TlsInspector, context),
  create: (_config, environment) => {
    const stats = createStats(environment.base.stats.scope('tls_inspector'))
    return () => new TlsInspectorFilter(stats)
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
  private readonly stats: Stats
  private socket: AcceptedSocketView | null = null

  constructor(stats: Stats) {
    this.stats = stats
  }

  onAccept(socket: AcceptedSocketView): ListenerFilterStatus {
    this.socket = socket
    return ListenerFilterStatus.NeedMore
  }

  onData(bytes: Buffer): ListenerFilterStatus {
    const { stats } = this
    const result = parseClientHello(bytes, MAX_CLIENT_HELLO_BYTES)
    switch (result.kind) {
      case 'need-more':
        return ListenerFilterStatus.NeedMore
      case 'too-large':
        stats.clientHelloTooLarge.inc()
        return ListenerFilterStatus.Close
      case 'not-tls':
        stats.tlsNotFound.inc()
        stats.bytesProcessed.record(bytes.length)
        return ListenerFilterStatus.Continue
      case 'hello': {
        const { hello } = result
        const { info } = this.socket!
        stats.tlsFound.inc()
        ;(hello.alpn.length > 0 ? stats.alpnFound : stats.alpnNotFound).inc()
        ;(hello.serverName !== '' ? stats.sniFound : stats.sniNotFound).inc()
        stats.bytesProcessed.record(hello.length)
        info.transportProtocol = 'tls'
        info.requestedServerName = hello.serverName
        if (hello.alpn.length > 0) info.applicationProtocols = hello.alpn
        return ListenerFilterStatus.Continue
      }
    }
  }
}
