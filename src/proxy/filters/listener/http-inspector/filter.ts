// envoy.filters.listener.http_inspector: tells HTTP/1 and HTTP/2 from other plain text (envoy-contract §4.4).

import { HttpInspectorSchema } from '../../../../api/gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.js'
import { type AcceptedSocketView, type ListenerFilter, ListenerFilterStatus } from '../../../network/listener-filter.ts'
import type { ListenerFilterExtension } from '../../../network/listener-filters.ts'
import type { Counter } from '../../../observe/stats.ts'
import { inspectHttp } from './inspect.ts'

interface Stats {
  readonly readError: Counter
  readonly http10Found: Counter
  readonly http11Found: Counter
  readonly http2Found: Counter
  readonly httpNotFound: Counter
}

export const httpInspector: ListenerFilterExtension = {
  name: 'envoy.filters.listener.http_inspector',
  desc: HttpInspectorSchema,
  parse: () => ({}),
  create: (_config, environment) => {
    const scope = environment.base.stats.scope('http_inspector')
    const stats: Stats = {
      readError: scope.counter('read_error'),
      http10Found: scope.counter('http10_found'),
      http11Found: scope.counter('http11_found'),
      http2Found: scope.counter('http2_found'),
      httpNotFound: scope.counter('http_not_found'),
    }
    return () => new HttpInspectorFilter(stats)
  },
}

class HttpInspectorFilter implements ListenerFilter {
  private readonly stats: Stats
  private socket: AcceptedSocketView | null = null

  constructor(stats: Stats) {
    this.stats = stats
  }

  onAccept(socket: AcceptedSocketView): ListenerFilterStatus {
    if (socket.info.transportProtocol !== 'raw_buffer') return ListenerFilterStatus.Continue
    this.socket = socket
    return ListenerFilterStatus.NeedMore
  }

  onData(bytes: Buffer): ListenerFilterStatus {
    const result = inspectHttp(bytes)
    switch (result) {
      case 'need-more':
        return ListenerFilterStatus.NeedMore
      case 'too-long':
        this.stats.readError.inc()
        return ListenerFilterStatus.Close
      case 'not-http':
        this.stats.httpNotFound.inc()
        return ListenerFilterStatus.Continue
      case 'h2c':
        this.stats.http2Found.inc()
        break
      case 'http/1.1':
        this.stats.http11Found.inc()
        break
      case 'http/1.0':
        this.stats.http10Found.inc()
        break
    }
    this.socket!.info.applicationProtocols = [result]
    return ListenerFilterStatus.Continue
  }
}
