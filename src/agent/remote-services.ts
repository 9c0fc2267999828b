// Services that ProxyConfig sends spans, stats and access logs to.
import { ConfigError } from '../base/errors.ts'
import { count, duration, isRecord, texts } from './raw-fields.ts'

export type Tracer = RemoteService & { readonly kind: 'zipkin' | 'datadog' }

/** Where something is sent to. */
export interface RemoteService {
  /** `host:port`. */
  readonly address: string
  /** Absent: plaintext. */
  readonly tls?: TlsSettings
  /** As Envoy's core.v3.TcpKeepalive has it. */
  readonly tcpKeepalive?: Readonly<Record<string, number>>
}

export interface TlsSettings {
  readonly mode: 'SIMPLE' | 'MUTUAL' | 'ISTIO_MUTUAL'
  readonly clientCertificate: string
  readonly privateKey: string
  readonly caCertificates: string
  readonly sni: string
  readonly subjectAltNames: readonly string[]
}

/** The tracer of the bootstrap; the other kinds are those of Envoys that are no more. */
export function readTracer(raw: Record<string, unknown>): Tracer | undefined {
  const tracing = isRecord(raw.tracing) ? raw.tracing : {}
  for (const kind of ['lightstep', 'openCensusAgent', 'stackdriver']) {
    if (tracing[kind] !== undefined)
      throw new ConfigError(
        `tracing.${kind}`,
        'is a tracer that Envoy has no more; use a tracing provider of extensionProviders',
      )
  }
  const tls = tlsSettings(tracing.tlsSettings, 'tracing.tlsSettings')
  for (const kind of ['zipkin', 'datadog'] as const) {
    const service = readRemoteService(tracing[kind], `tracing.${kind}`)
    if (service) return { ...service, tls, kind }
  }
  const address = raw.zipkinAddress
  return typeof address === 'string' && address !== '' ? { address, kind: 'zipkin' } : undefined
}

/** Absent: nothing is asked for. */
export function readRemoteService(value: unknown, path: string): RemoteService | undefined {
  if (value === undefined || value === null || value === '') return undefined
  if (!isRecord(value)) throw new ConfigError(path, 'must be an object')
  const { address } = value
  if (address === undefined || address === '') return undefined
  if (typeof address !== 'string') throw new ConfigError(`${path}.address`, 'must be host:port')
  const tls = tlsSettings(value.tlsSettings, `${path}.tlsSettings`)
  return { address, tls, tcpKeepalive: keepalive(value.tcpKeepalive) }
}

function keepalive(value: unknown): Record<string, number> | undefined {
  if (!isRecord(value)) return undefined
  const seconds = (key: string): number => (value[key] === undefined ? 0 : Math.floor(duration(value, key) / 1000))
  const all = {
    keepalive_probes: value.probes === undefined ? 0 : count(value, 'probes'),
    keepalive_time: seconds('time'),
    keepalive_interval: seconds('interval'),
  }
  return Object.fromEntries(Object.entries(all).filter(([, set]) => set > 0))
}

const TLS_MODES = ['SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'] as const

function tlsSettings(value: unknown, path: string): TlsSettings | undefined {
  if (!isRecord(value) || value.mode === undefined || value.mode === 'DISABLE') return undefined
  const mode = TLS_MODES.find((name) => name === value.mode)
  if (!mode) throw new ConfigError(`${path}.mode`, `must be DISABLE, ${TLS_MODES.join(', ')}`)
  const word = (key: string): string => (typeof value[key] === 'string' ? (value[key] as string) : '')
  if (mode === 'MUTUAL') {
    for (const key of ['clientCertificate', 'privateKey'])
      if (word(key) === '') throw new ConfigError(`${path}.${key}`, 'is required in mode MUTUAL')
  }
  return {
    mode,
    clientCertificate: word('clientCertificate'),
    privateKey: word('privateKey'),
    caCertificates: word('caCertificates'),
    sni: word('sni'),
    subjectAltNames: texts(value, 'subjectAltNames'),
  }
}
