// The question to an authorization service and its answer, over gRPC and over HTTP.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import {
  HeaderValueOption_HeaderAppendAction as Append,
  type HeaderValueOption,
} from '../../../../api/gen/envoy/config/core/v3/base_pb.js'
import { AttributeContextSchema } from '../../../../api/gen/envoy/service/auth/v3/attribute_context_pb.js'
import { CheckRequestSchema, CheckResponseSchema } from '../../../../api/gen/envoy/service/auth/v3/external_auth_pb.js'
import { byteString } from '../../../../base/byte-string.ts'
import { ownValue, setOwnValue } from '../../../../base/own-property.ts'
import { characters, validUtf8 } from '../../../../base/utf8.ts'
import { HeaderMap } from '../../../http/header-map.ts'
import type { SslInfo } from '../../../network/connection.ts'
import { compileStringMatcher, type StringMatch, type StringMatcherData } from '../../../route/string-matcher.ts'
import type { StreamInfo } from '../../../stream-info.ts'
import { destinationPeer, sourcePeer } from '../../common/authorization-peers.ts'
import type { AuthzService, ExtAuthzConfig } from './config.ts'

/** How one header is changed. */
export interface HeaderChange {
  readonly name: string
  readonly value: string
  readonly action: 'append' | 'set' | 'add_if_absent' | 'set_if_present'
}

export type Answer =
  | {
      readonly kind: 'ok'
      readonly set: readonly HeaderChange[]
      readonly remove: readonly string[]
      readonly response: readonly HeaderChange[]
      readonly queryToSet: readonly { readonly key: string; readonly value: string }[]
      readonly queryToRemove: readonly string[]
      readonly metadata: Readonly<Record<string, unknown>> | null
    }
  | {
      readonly kind: 'denied'
      readonly status: number
      readonly body: string
      readonly headers: readonly HeaderChange[]
      readonly metadata: Readonly<Record<string, unknown>> | null
    }
  | { readonly kind: 'error' }

export const ERROR: Answer = { kind: 'error' }

/** What is asked about. */
export interface Question {
  readonly headers: HeaderMap
  readonly info: StreamInfo
  readonly body: Buffer
  /** The body is longer than that; null = nobody waited for one. */
  readonly partial: boolean | null
  readonly contextExtensions: Readonly<Record<string, string>>
  readonly routeMetadata: Readonly<Record<string, unknown>> | null
}

export function anyOf(list: readonly StringMatcherData[]): StringMatch {
  const compiled = list.map(compileStringMatcher)
  return (text) => compiled.some((match) => match(text))
}

const PARTIAL_BODY = 'x-envoy-auth-partial-body'

/** These namespaces, where they are there. */
function pick(
  metadata: Readonly<Record<string, unknown>> | null | undefined,
  namespaces: readonly string[],
): Record<string, never> {
  const picked: Record<string, never> = {}
  for (const namespace of namespaces) {
    const values = metadata?.[namespace]
    if (values) picked[namespace] = values as never
  }
  return picked
}

/** The CheckRequest. */
export function grpcQuestion(
  question: Question,
  config: ExtAuthzConfig,
  allowed: (name: string) => boolean,
): Uint8Array {
  const { headers, info, body } = question
  const ssl: SslInfo | null = info.downstream.ssl()
  const map: Record<string, string> = {}
  const raw: { key: string; rawValue: Buffer }[] = []
  const put = (name: string, value: string): void => {
    if (!allowed(name)) return
    if (config.encodeRawHeaders) raw.push({ key: name, rawValue: Buffer.from(value, 'latin1') })
    else {
      const before = ownValue(map, name)
      setOwnValue(map, name, before === undefined ? text(value) : `${before},${text(value)}`)
    }
  }
  for (const [name, value] of [
    [':method', headers.method],
    [':path', headers.path],
    [':authority', headers.authority],
    [':scheme', headers.scheme],
  ] as const) {
    put(name, value)
  }
  for (let i = 0; i < headers.list.length; i += 2) put(headers.list[i]!, headers.list[i + 1]!)
  if (question.partial !== null) {
    const partial = String(question.partial)
    if (config.encodeRawHeaders) raw.push({ key: PARTIAL_BODY, rawValue: Buffer.from(partial) })
    else map[PARTIAL_BODY] = partial
  }
  const metadata = pick(info.dynamicMetadata, config.metadataNamespaces)
  const routeMetadata = pick(question.routeMetadata, config.routeMetadataNamespaces)
  const message = create(CheckRequestSchema, {
    attributes: create(AttributeContextSchema, {
      source: sourcePeer(
        { remoteAddress: info.downstream.remoteAddress, ssl },
        headers.get('x-envoy-downstream-service-cluster') ?? '',
        config.includePeerCertificate,
      ),
      destination: destinationPeer({ localAddress: info.downstream.localAddress, ssl }, ''),
      request: {
        time: timestampFromMs(info.startTimeMs),
        http: {
          id: String(info.streamId),
          method: headers.method,
          path: text(headers.path),
          host: text(headers.authority),
          scheme: headers.scheme,
          protocol: info.protocol,
          size: BigInt(info.bytesReceived),
          ...(config.encodeRawHeaders ? { headerMap: { headers: raw } } : { headers: map }),
          ...(config.body?.packAsBytes ? { rawBody: body } : { body: body.toString('utf8') }),
        },
      },
      contextExtensions: { ...question.contextExtensions },
      metadataContext: { filterMetadata: metadata },
      routeMetadataContext: { filterMetadata: routeMetadata },
      ...(config.includeTlsSession && ssl ? { tlsSession: { sni: ssl.sni } } : {}),
    }),
  })
  return toBinary(CheckRequestSchema, message)
}

function changesOf(options: readonly HeaderValueOption[]): HeaderChange[] {
  return options.flatMap(({ header, append, appendAction }): HeaderChange[] => {
    if (!header) return []
    const value =
      header.rawValue.length > 0 ? Buffer.from(header.rawValue).toString('latin1') : byteString(header.value)
    // Without `append` a header of an authorization service replaces what the request has.
    const action =
      append === true
        ? 'append'
        : appendAction === Append.ADD_IF_ABSENT
          ? 'add_if_absent'
          : appendAction === Append.OVERWRITE_IF_EXISTS
            ? 'set_if_present'
            : 'set'
    return [{ name: header.key.toLowerCase(), value, action }]
  })
}

/** From the CheckResponse. */
export function grpcAnswer(message: Uint8Array): Answer {
  try {
    const response = fromBinary(CheckResponseSchema, message)
    const metadata = (response.dynamicMetadata as Record<string, unknown> | undefined) ?? null
    const http = response.httpResponse
    if ((response.status?.code ?? 0) !== 0) {
      const denied = http.case === 'deniedResponse' ? http.value : undefined
      return {
        kind: 'denied',
        status: denied?.status?.code || 403,
        body: byteString(denied?.body ?? ''),
        headers: changesOf(denied?.headers ?? []),
        metadata,
      }
    }
    const ok = http.case === 'okResponse' ? http.value : undefined
    return {
      kind: 'ok',
      set: changesOf(ok?.headers ?? []),
      remove: (ok?.headersToRemove ?? []).map((name) => name.toLowerCase()),
      response: changesOf(ok?.responseHeadersToAdd ?? []),
      queryToSet: (ok?.queryParametersToSet ?? []).map(({ key, value }) => ({ key, value })),
      queryToRemove: ok?.queryParametersToRemove ?? [],
      metadata,
    }
  } catch {
    // An answer that does not decode is none.
    return ERROR
  }
}

type HttpAuthz = Extract<AuthzService, { kind: 'http' }>

/** Of a refusal, always told to the client. */
const ALWAYS_TOLD: readonly StringMatcherData[] = ['content-length', 'location', 'www-authenticate'].map((value) => ({
  kind: 'exact',
  value,
  ignoreCase: false,
}))

/** Always sent to an HTTP service, besides what the configuration allows. */
const ALWAYS: ReadonlySet<string> = new Set(['authorization'])

export function httpQuestion(question: Question, service: HttpAuthz, allowed: (name: string) => boolean): HeaderMap {
  const { headers, body } = question
  const out = new HeaderMap()
  out.method = headers.method
  out.path = service.pathOverride || service.pathPrefix + validUtf8(headers.path)
  out.authority = validUtf8(headers.authority)
  out.scheme = 'http'
  for (let i = 0; i < headers.list.length; i += 2) {
    const name = headers.list[i]!
    if (name === 'content-length' || !(ALWAYS.has(name) || allowed(name))) continue
    const value = validUtf8(headers.list[i + 1]!)
    const before = out.get(name)
    out.set(name, before === undefined ? value : `${before},${value}`)
  }
  if (question.partial !== null) out.set(PARTIAL_BODY, String(question.partial))
  for (const { name, value } of service.headersToAdd) out.set(name, value)
  out.set('content-length', String(body.length))
  // It is a request of the proxy's own.
  out.set('x-envoy-internal', 'true')
  out.set('x-envoy-expected-rq-timeout-ms', String(service.timeoutMs))
  return out
}

/** As characters; questions are messages of text, with a mark for each byte that is none (Envoy). */
function text(bytes: string): string {
  return characters(validUtf8(bytes))
}

/** 200 lets pass; other answers deny with their own status, 5xx are errors. */
export function httpAnswer(service: HttpAuthz, headers: HeaderMap, body: Buffer): Answer {
  if (headers.status >= 500) return ERROR
  const pick = (list: readonly StringMatcherData[], action: HeaderChange['action']): HeaderChange[] => {
    if (list.length === 0) return []
    const matches = anyOf(list)
    return pairsOf(headers).flatMap(([name, value]) => (matches(name) ? [{ name, value, action }] : []))
  }
  if (headers.status !== 200) {
    // Unless configured, the client sees all of the service's headers but those of the connection.
    const client =
      service.clientHeaders.length > 0
        ? pick([...service.clientHeaders, ...ALWAYS_TOLD], 'set')
        : pairsOf(headers)
            .filter(([name]) => !HOP_BY_HOP.has(name))
            .map(([name, value]): HeaderChange => ({ name, value, action: 'set' }))
    return { kind: 'denied', status: headers.status, body: body.toString('latin1'), headers: client, metadata: null }
  }
  const metadata = pick(service.metadataFromHeaders, 'set')
  return {
    kind: 'ok',
    set: [...pick(service.upstreamHeaders, 'set'), ...pick(service.upstreamHeadersToAppend, 'append')],
    remove: [],
    response: pick(service.clientHeadersOnSuccess, 'append'),
    queryToSet: [],
    queryToRemove: [],
    metadata: metadata.length > 0 ? Object.fromEntries(metadata.map(({ name, value }) => [name, value])) : null,
  }
}

const HOP_BY_HOP: ReadonlySet<string> = new Set(['connection', 'transfer-encoding', 'date', 'server', 'keep-alive'])

function pairsOf(headers: HeaderMap): [string, string][] {
  return Array.from({ length: headers.size }, (_, i) => [headers.list[2 * i]!, headers.list[2 * i + 1]!])
}
