// Envoy's named loggers, each with a level of its own that `/logging` shows and sets.
import { isLogLevel, type Logger, type LogLevel, pinoLevel } from '../../base/logger.ts'

/** Envoy's names, in its order. What of Envoy we do not have has a name and a level, and says nothing. */
const NAMES = [
  ...['a2a', 'admin', 'ai_protocol_manager', 'alternate_protocols_cache', 'aws', 'assert', 'backtrace', 'basic_auth'],
  ...['cache_filter', 'client', 'config', 'connection', 'conn_handler', 'compression', 'credential_injector'],
  ...['decompression', 'dns', 'dubbo', 'envoy_bug', 'ext_authz', 'ext_proc', 'rocketmq', 'file', 'filter'],
  ...['forward_proxy', 'geolocation', 'grpc', 'happy_eyeballs', 'hc', 'health_checker', 'http', 'http2', 'hystrix'],
  ...['init', 'io', 'jwt', 'json_rpc', 'kafka', 'key_value_store', 'lua', 'local_rate_limit', 'main', 'matcher', 'mcp'],
  ...['misc', 'mongo', 'multi_connection', 'notification', 'oauth2', 'quic', 'quic_stream', 'pool', 'rate_limit_quota'],
  ...['rbac', 'rds', 'redis', 'router', 'runtime', 'stats', 'secret', 'sse', 'tap', 'testing', 'thrift', 'tracing'],
  ...['upstream', 'udp', 'wasm', 'websocket', 'golang', 'stats_sinks', 'dynamic_modules', 'ip_tagging'],
] as const
/** Names that our own messages bear. */
export type LoggerName = 'admin' | 'config' | 'conn_handler' | 'envoy_bug' | 'main' | 'misc' | 'secret' | 'upstream'

export class Loggers {
  private readonly root: Logger
  private readonly made = new Map<string, Logger>()
  private readonly words = new Map<string, string>()

  /** Every logger starts at the root's level. */
  constructor(root: Logger) {
    this.root = root
    const level = levelWord(root)
    for (const name of NAMES) this.words.set(name, level)
  }

  of(name: LoggerName): Logger {
    let log = this.made.get(name)
    if (!log) {
      const level = pinoLevel(this.words.get(name) as LogLevel)
      this.made.set(name, (log = this.root.child({ logger: name }, { level })))
    }
    return log
  }

  /** Name to level, in Envoy's words. */
  levels(): ReadonlyMap<string, string> {
    return this.words
  }

  /** `name` null: every logger. False: no such name or level. */
  set(name: string | null, word: string): boolean {
    if (!isLogLevel(word) || (name !== null && !this.words.has(name))) return false
    for (const one of name === null ? [...this.words.keys()] : [name]) this.setOne(one, word)
    if (name === null) this.root.level = pinoLevel(word)
    return true
  }

  private setOne(name: string, word: LogLevel): void {
    this.words.set(name, word)
    const log = this.made.get(name)
    if (log) log.level = pinoLevel(word)
  }
}

/** Envoy's word for a logger's level. */
export function levelWord(log: Pick<Logger, 'level'>): string {
  const words: Readonly<Record<string, string>> = { warn: 'warning', fatal: 'critical', silent: 'off' }
  return words[log.level] ?? log.level
}
