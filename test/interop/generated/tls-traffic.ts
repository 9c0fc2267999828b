// The generated requests over TLS, with client certificates of several kinds and without one: what becomes of
// x-forwarded-client-cert.

import { type ConnectionOptions, connect } from 'node:tls'
import { type Pair as Identity, Pki } from '../harness/pki.ts'
import { HTTP1 } from './http1-traffic.ts'
import type { Session } from './http2-session.ts'
import { HTTP2 } from './http2-traffic.ts'
import type { Traffic } from './pair.ts'
import type { Stream } from './streams.ts'

interface Encrypted {
  /** Index of IDENTITIES. */
  readonly identity: number
  readonly play: { readonly http1: Stream } | { readonly http2: Session }
}

const CA = 'basicConstraints=CA:FALSE'
/** Subject and extensions; null = no certificate. */
const IDENTITIES: readonly ([subject: string, names: string] | null)[] = [
  ['/CN=client/O=One, Two;"Three"', 'URI:spiffe://td/ns/a/sa/b'],
  ['/CN=names', 'URI:spiffe://td/x,URI:spiffe://td/y,DNS:a.example,DNS:*.b.example,IP:10.1.2.3'],
  ['/O=no common name', 'DNS:only.example'],
  null,
]

/** The authority of one run, its server and its clients. */
export class Certificates {
  readonly authority: string
  readonly server: Identity
  readonly clients: readonly (Identity | null)[]

  constructor() {
    const pki = new Pki()
    const authority = pki.authority(null, 'generated')
    this.authority = authority.pair.cert
    this.server = pki.sign(authority, '/CN=server', [CA, 'subjectAltName=DNS:server'])
    this.clients = IDENTITIES.map((one) => one && pki.sign(authority, one[0], [CA, `subjectAltName=${one[1]}`]))
    pki.remove()
  }

  /** Of a filter chain: clients may have a certificate. */
  get transportSocket(): object {
    const inline = (text: string): object => ({ inline_string: text })
    return {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
        common_tls_context: {
          alpn_protocols: ['h2', 'http/1.1'],
          tls_certificates: [{ certificate_chain: inline(this.server.cert), private_key: inline(this.server.key) }],
          validation_context: { trusted_ca: inline(this.authority) },
        },
      },
    }
  }
}

/** Broken framing is the plain traffic's: whether a service was asked before it was seen is a matter of records here. */
function wellFormed(stream: Stream): Stream {
  return { ...stream, edits: [], requests: stream.requests.map((r) => ({ ...r, chunkLine: ['', ''] as const })) }
}

/** Half of the items each; `certificates` are those of the listeners. */
export function overTls(certificates: Certificates): Traffic<Encrypted> {
  const socketOf = (port: number, { identity, play }: Encrypted): ReturnType<typeof connect> => {
    const client = certificates.clients[identity]
    const options: ConnectionOptions = {
      port,
      host: '127.0.0.1',
      ca: certificates.authority,
      servername: 'server',
      ALPNProtocols: ['http2' in play ? 'h2' : 'http/1.1'],
      ...(client ? { cert: client.cert, key: client.key } : {}),
    }
    return connect(options)
  }
  return {
    name: 'requests over TLS',
    generate: (seed, count) => {
      const half = Math.ceil(count / 2)
      const [http1, http2] = [HTTP1.generate(seed, half).map(wellFormed), HTTP2.generate(seed, count - half)]
      return Array.from({ length: count }, (_, i): Encrypted => {
        const identity = (i >> 1) % IDENTITIES.length
        return { identity, play: i % 2 ? { http2: http2[i >> 1]! } : { http1: http1[i >> 1]! } }
      })
    },
    send: (port, item, id) => {
      const socket = socketOf(port, item)
      return 'http2' in item.play
        ? HTTP2.send(port, item.play.http2, id, socket)
        : HTTP1.send(port, item.play.http1, id, socket)
    },
    forgive: (theirs, ours) => HTTP2.forgive!(theirs, ours),
    *smaller(item) {
      if ('http2' in item.play) for (const http2 of HTTP2.smaller(item.play.http2)) yield { ...item, play: { http2 } }
      else for (const http1 of HTTP1.smaller(item.play.http1)) yield { ...item, play: { http1 } }
    },
    show: ({ identity, play }) =>
      `client ${identity} ${'http2' in play ? HTTP2.show(play.http2) : HTTP1.show(play.http1)}`,
  }
}
