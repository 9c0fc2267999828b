// Which protocol a Service port speaks: from appProtocol, port name and well-known numbers.

/** Istio's protocol names. `Unsupported` is "not declared": the proxy detects it on the wire. */
export type Protocol =
  | 'HTTP'
  | 'HTTP2'
  | 'HTTPS'
  | 'HTTP_PROXY'
  | 'GRPC'
  | 'GRPC-Web'
  | 'TCP'
  | 'TLS'
  | 'UDP'
  | 'Mongo'
  | 'Redis'
  | 'MySQL'
  | 'Unsupported'

/** How a listener treats a port: HTTP connection manager, opaque bytes, sniffed, or not at all (UDP). */
export type ListenerProtocol = 'HTTP' | 'TCP' | 'AUTO' | 'UNKNOWN'

const BY_WORD: Readonly<Record<string, Protocol>> = {
  tcp: 'TCP',
  udp: 'UDP',
  grpc: 'GRPC',
  'grpc-web': 'GRPC-Web',
  http: 'HTTP',
  http_proxy: 'HTTP_PROXY',
  http2: 'HTTP2',
  https: 'HTTPS',
  tls: 'TLS',
  mongo: 'Mongo',
  redis: 'Redis',
  mysql: 'MySQL',
}

/** SMTP, DNS, MySQL, MongoDB: the server speaks first or bytes say nothing, so sniffing would hang. */
const OPAQUE_PORTS: ReadonlySet<number> = new Set([25, 53, 3306, 27017])

/** The protocol a word names (`http2`, `GRPC`, …), any case; `Unsupported` for anything else. */
export function parseProtocol(word: string): Protocol {
  return BY_WORD[word.toLowerCase()] ?? 'Unsupported'
}

/**
 * The protocol of a Kubernetes Service port: UDP by transport, then `appProtocol`, then the port name up to its first
 * dash, then well-known port numbers (Istio's "explicit protocol selection").
 */
export function kubeProtocol(
  port: number,
  name: string | undefined,
  transport: string | undefined,
  appProtocol: string | undefined,
): Protocol {
  if (transport === 'UDP') return 'UDP'
  const word = wordOf(name, appProtocol)
  const named = parseProtocol(word)
  if (named !== 'Unsupported') return named
  return OPAQUE_PORTS.has(port) ? 'TCP' : 'Unsupported'
}

function wordOf(name = '', appProtocol: string | undefined): string {
  let word = name
  if (appProtocol !== undefined) {
    switch (appProtocol) {
      case 'kubernetes.io/h2c':
        return 'http2'
      case 'kubernetes.io/ws':
        return 'http'
      case 'kubernetes.io/wss':
        return 'https'
    }
    word = appProtocol
  }
  if (word.toLowerCase().startsWith('grpc-web')) return 'grpc-web'
  const dash = word.indexOf('-')
  return dash < 0 ? word : word.slice(0, dash)
}

export function isHttp(protocol: Protocol): boolean {
  return protocol === 'HTTP' || protocol === 'HTTP_PROXY' || isHttp2(protocol)
}

export function isHttp2(protocol: Protocol): boolean {
  return protocol === 'HTTP2' || protocol === 'GRPC' || protocol === 'GRPC-Web'
}

export function isGrpc(protocol: Protocol): boolean {
  return protocol === 'GRPC' || protocol === 'GRPC-Web'
}

export function isTls(protocol: Protocol): boolean {
  return protocol === 'HTTPS' || protocol === 'TLS'
}

/** The listener class of a port's protocol (contract: HTTP / TCP / Auto / skipped). */
export function listenerProtocol(protocol: Protocol): ListenerProtocol {
  if (protocol === 'UDP') return 'UNKNOWN'
  if (protocol === 'Unsupported') return 'AUTO'
  return isHttp(protocol) ? 'HTTP' : 'TCP'
}
