// Values of extra dimensions: the part of CEL that metrics use, i.e. one attribute or one literal.

import { ConfigError } from '../../../../base/errors.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { pathWithoutQuery } from '../../../route/request-path.ts'
import type { StreamInfo } from '../../../stream-info.ts'

export type DimensionValue =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'attribute'; readonly name: AttributeName }
  | { readonly kind: 'request_header' | 'response_header'; readonly name: string }
  | { readonly kind: 'node_metadata'; readonly key: string }

/** What an attribute is read from; headers are null on TCP. */
export interface DimensionFacts {
  readonly info: StreamInfo
  readonly requestHeaders: HeaderMap | null
  readonly responseHeaders: HeaderMap | null
  readonly nodeMetadata: Readonly<Record<string, unknown>>
}

const ATTRIBUTES = {
  'request.method': (facts) => facts.requestHeaders?.method,
  'request.host': (facts) => facts.requestHeaders?.authority,
  'request.path': (facts) => facts.requestHeaders?.path,
  'request.url_path': (facts) => facts.requestHeaders && pathWithoutQuery(facts.requestHeaders.path),
  'request.scheme': (facts) => facts.requestHeaders?.scheme,
  'request.useragent': (facts) => facts.requestHeaders?.get('user-agent'),
  'request.referer': (facts) => facts.requestHeaders?.get('referer'),
  'request.id': (facts) => facts.requestHeaders?.get('x-request-id'),
  'request.protocol': (facts) => facts.info.protocol,
  'response.code': (facts) => String(facts.info.responseCode),
  'response.code_details': (facts) => facts.info.responseCodeDetails,
  'source.address': (facts) => facts.info.downstream.remoteAddress.text,
  'source.port': (facts) => String(facts.info.downstream.remoteAddress.port),
  'destination.address': (facts) => facts.info.downstream.localAddress.text,
  'destination.port': (facts) => String(facts.info.downstream.localAddress.port),
  'connection.mtls': (facts) => String(facts.info.downstream.ssl()?.peerCertificatePresented ?? false),
  'connection.requested_server_name': (facts) => facts.info.downstream.requestedServerName,
  'connection.tls_version': (facts) => facts.info.downstream.ssl()?.version,
  'upstream.address': (facts) => facts.info.upstreamHost?.address.text,
  'upstream.cluster': (facts) => facts.info.upstreamCluster,
  'xds.cluster_name': (facts) => facts.info.upstreamCluster,
  'xds.route_name': (facts) => facts.info.routeName,
} as const satisfies Record<string, (facts: DimensionFacts) => string | null | undefined>
type AttributeName = keyof typeof ATTRIBUTES

const LITERAL = /^(?:"([^"\\]*)"|'([^'\\]*)')$/
const HEADER = /^(request|response)\.headers\[(?:"([^"]+)"|'([^']+)')\]$/
const NODE = /^(?:node|xds\.node)\.metadata\[(?:"([^"]+)"|'([^']+)')\]$/
const STRING = /^string\((.*)\)$/

/** Throws ConfigError for an expression beyond an attribute, a header, node metadata or a string literal. */
export function parseDimension(expression: string, path: string): DimensionValue {
  const text = expression.trim()
  const literal = LITERAL.exec(text)
  if (literal) return { kind: 'literal', text: literal[1] ?? literal[2] ?? '' }
  const header = HEADER.exec(text)
  if (header) {
    const name = (header[2] ?? header[3]!).toLowerCase()
    return { kind: header[1] === 'request' ? 'request_header' : 'response_header', name }
  }
  const node = NODE.exec(text)
  if (node) return { kind: 'node_metadata', key: node[1] ?? node[2]! }
  if (Object.hasOwn(ATTRIBUTES, text)) return { kind: 'attribute', name: text as AttributeName }
  const converted = STRING.exec(text)
  if (converted) return parseDimension(converted[1]!, path)
  throw new ConfigError(
    path,
    `"${expression}" is not supported: use a string, one attribute such as request.host, or a header`,
  )
}

/** '' becomes `unknown`, as in every dimension. */
export function dimensionText(value: DimensionValue, facts: DimensionFacts): string {
  switch (value.kind) {
    case 'literal':
      return value.text
    case 'attribute':
      return ATTRIBUTES[value.name](facts) || 'unknown'
    case 'request_header':
      return facts.requestHeaders?.getAll(value.name) || 'unknown'
    case 'response_header':
      return facts.responseHeaders?.getAll(value.name) || 'unknown'
    case 'node_metadata': {
      const found = facts.nodeMetadata[value.key]
      return typeof found === 'string' && found !== '' ? found : 'unknown'
    }
  }
}
