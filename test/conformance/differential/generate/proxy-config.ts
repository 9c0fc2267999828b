// The parts of ProxyConfig that decide what a control plane sends, as MeshConfig.defaultConfig has them.
import type { Draw } from './draw.ts'

const CLIENT_CERTIFICATE = [
  'SANITIZE',
  'FORWARD_ONLY',
  'APPEND_FORWARD',
  'SANITIZE_SET',
  'ALWAYS_FORWARD_ONLY',
] as const

export function defaultConfig(draw: Draw): object {
  return {
    tracing: draw.maybe(0.4, () => ({
      ...draw.pick<object>([
        { zipkin: { address: 'web.default.svc.cluster.local:80' } },
        {},
        { datadog: { address: 'web.default.svc.cluster.local:80' } },
      ]),
      sampling: draw.maybe(0.5, () => draw.pick([0, 12, 0.5, 100])),
      maxPathTagLength: draw.maybe(0.3, () => 99),
      customTags: draw.maybe(0.4, () => ({
        mesh: draw.pick<object>([
          { literal: { value: 'm' } },
          { environment: { name: 'ENV', defaultValue: 'd' } },
          { header: { name: 'x-user', defaultValue: 'u' } },
          { header: { name: 'x-user' } },
        ]),
      })),
      enableIstioTags: draw.maybe(0.3, () => draw.chance(0.5)),
    })),
    gatewayTopology: draw.maybe(0.4, () => ({
      numTrustedProxies: draw.maybe(0.6, () => 2),
      forwardClientCertDetails: draw.maybe(0.4, () => draw.pick(CLIENT_CERTIFICATE)),
      proxyProtocol: draw.maybe(0.3, () => ({})),
    })),
    proxyHeaders: draw.maybe(0.5, () => ({
      forwardedClientCert: draw.maybe(0.4, () => draw.pick(CLIENT_CERTIFICATE)),
      requestId: draw.maybe(0.3, () => ({ disabled: draw.chance(0.7) })),
      server: draw.maybe(0.4, () => draw.pick<object>([{ disabled: true }, { value: 'srv' }])),
      attemptCount: draw.maybe(0.3, () => ({ disabled: draw.chance(0.7) })),
      envoyDebugHeaders: draw.maybe(0.3, () => ({ disabled: draw.chance(0.8) })),
      metadataExchangeHeaders: draw.maybe(0.3, () => ({ mode: draw.pick(['IN_MESH', 'UNDEFINED']) })),
      preserveHttp1HeaderCase: draw.maybe(0.3, () => true),
      xForwardedHost: draw.maybe(0.2, () => ({ enabled: true })),
      xForwardedPort: draw.maybe(0.2, () => ({ enabled: true })),
      setCurrentClientCertDetails: draw.maybe(0.3, () => ({
        subject: draw.maybe(0.7, () => draw.chance(0.7)),
        uri: draw.maybe(0.5, () => draw.chance(0.5)),
        dns: draw.maybe(0.5, () => true),
        cert: draw.maybe(0.3, () => true),
        chain: draw.maybe(0.3, () => true),
      })),
    })),
    connectionSettings: draw.maybe(0.4, () => connectionSettings(draw)),
  }
}

const bytes = (draw: Draw) => draw.pick([65536, 1048576])

function connectionSettings(draw: Draw): object {
  const some = 0.2
  return {
    profile: draw.maybe(0.5, () => draw.pick(['SIDECAR', 'EDGE'])),
    listenerPerConnectionBufferLimitBytes: draw.maybe(some, () => bytes(draw)),
    clusterPerConnectionBufferLimitBytes: draw.maybe(some, () => bytes(draw)),
    httpIdleTimeout: draw.maybe(some, () => draw.pick(['0s', '90s'])),
    httpMaxConnectionDuration: draw.maybe(some, () => draw.duration()),
    httpDrainTimeout: draw.maybe(some, () => draw.duration()),
    httpRequestTimeout: draw.maybe(some, () => draw.pick(['0s', '20s'])),
    httpRequestHeadersTimeout: draw.maybe(some, () => draw.duration()),
    httpStreamIdleTimeout: draw.maybe(some, () => draw.pick(['0s', '50s'])),
    httpMaxStreamDuration: draw.maybe(some, () => draw.duration()),
    httpMaxConcurrentStreams: draw.maybe(some, () => 77),
    http2InitialStreamWindowSize: draw.maybe(some, () => bytes(draw)),
    http2InitialConnectionWindowSize: draw.maybe(some, () => bytes(draw)),
    httpHeadersWithUnderscoresAction: draw.maybe(some, () =>
      draw.pick([
        'HEADERS_WITH_UNDERSCORES_UNSPECIFIED',
        'HEADERS_WITH_UNDERSCORES_ALLOW',
        'HEADERS_WITH_UNDERSCORES_REJECT_REQUEST',
        'HEADERS_WITH_UNDERSCORES_DROP_HEADER',
      ]),
    ),
    httpMergeSlashes: draw.maybe(some, () => draw.chance(0.6)),
    httpPathWithEscapedSlashesAction: draw.maybe(some, () =>
      draw.pick([
        'PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED',
        'KEEP_UNCHANGED',
        'REJECT_REQUEST',
        'UNESCAPE_AND_REDIRECT',
        'UNESCAPE_AND_FORWARD',
      ]),
    ),
    listenerConnectionLimit: draw.maybe(some, () => 500),
    globalDownstreamConnectionLimit: draw.maybe(some, () => 900),
  }
}
