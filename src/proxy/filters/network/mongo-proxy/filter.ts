// envoy.filters.network.mongo_proxy: what Istio puts before tcp_proxy on ports of protocol Mongo. Passes every byte on and
// counts the messages of the client by kind; bodies are not looked into.

import {
  type MongoProxy,
  MongoProxySchema,
} from '../../../../api/gen/envoy/extensions/filters/network/mongo_proxy/v3/mongo_proxy_pb.js'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { FilterStatus, type NetworkFilter } from '../../../network/filter.ts'
import type { Counter, Scope } from '../../../observe/stats.ts'
import { MessageSniffer } from './sniffer.ts'

interface MongoConfig {
  readonly statPrefix: string
}

/** Operations of the wire protocol that Envoy knows, and the counter of each; '' = it has none. */
const OPERATIONS: Readonly<Record<number, string>> = {
  1: 'op_reply',
  2001: '',
  2002: 'op_insert',
  2004: 'op_query',
  2005: 'op_get_more',
  2006: '',
  2007: 'op_kill_cursors',
  2010: 'op_command',
  2011: 'op_command_reply',
}

class Stats {
  readonly decodingError: Counter
  private readonly operations = new Map<number, Counter | null>()

  constructor(scope: Scope) {
    this.decodingError = scope.counter('decoding_error')
    for (const [code, name] of Object.entries(OPERATIONS))
      this.operations.set(Number(code), name === '' ? null : scope.counter(name))
  }

  /** False for an operation that is none. */
  count(code: number): boolean {
    const counter = this.operations.get(code)
    if (counter === undefined) return false
    counter?.inc()
    return true
  }
}

class MongoFilter implements NetworkFilter {
  private readonly stats: Stats
  /** null once the bytes made no sense: the connection goes on unwatched, as in Envoy. */
  private sniffer: MessageSniffer | null

  constructor(stats: Stats) {
    this.stats = stats
    this.sniffer = new MessageSniffer((code) => stats.count(code))
  }

  onNewConnection(): FilterStatus {
    return FilterStatus.Continue
  }

  onData(chunk: Buffer): FilterStatus {
    if (this.sniffer !== null && !this.sniffer.take(chunk)) {
      this.stats.decodingError.inc()
      this.sniffer = null
    }
    return FilterStatus.Continue
  }

  onEvent(): void {}
}

export const mongoProxy: NetworkFilterExtension<MongoConfig> = {
  name: 'envoy.filters.network.mongo_proxy',
  desc: MongoProxySchema,
  parse(message, context) {
    refuseUnsupported(MongoProxySchema, message, new Set(['stat_prefix']), context.path)
    return { statPrefix: (message as MongoProxy).statPrefix }
  },
  create(config, context) {
    const stats = new Stats(context.stats.scope(`mongo.${config.statPrefix}`))
    return () => new MongoFilter(stats)
  },
}
