// Trace context as headers carry it: W3C (traceparent, tracestate) and B3, several headers or one.

import type { HeaderMap } from '../../http/header-map.ts'

/** Ids in lower-case hex; '' where there is none. */
export interface SpanContext {
  readonly traceId: string
  readonly spanId: string
  readonly parentId: string
  readonly sampled: boolean
  readonly traceState: string
}

/** `null`: the headers are there and make no sense. */
export type Extracted = SpanContext | null | undefined

const TRACE_PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/
const ZEROS = /^0+$/

/** undefined = no traceparent (W3C Trace Context §3.2). */
export function extractW3c(headers: HeaderMap): Extracted {
  const text = headers.get('traceparent')
  if (text === undefined) return undefined
  const match = TRACE_PARENT.exec(text)
  if (!match || ZEROS.test(match[2]!) || ZEROS.test(match[3]!)) return null
  return {
    traceId: match[2]!,
    spanId: match[3]!,
    parentId: '',
    sampled: (Number.parseInt(match[4]!, 16) & 1) === 1,
    traceState: headers.getAll('tracestate') ?? '',
  }
}

export function injectW3c(headers: HeaderMap, traceId: string, spanId: string, sampled: boolean): void {
  replace(headers, 'traceparent', `00-${traceId.padStart(32, '0')}-${spanId}-${sampled ? '01' : '00'}`)
}

const B3_TRACE_ID = /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/i
const B3_SPAN_ID = /^[0-9a-f]{16}$/i

/** What B3 headers say: whether to sample, where they say so, and which span this one follows. */
export interface B3 {
  /** null = not said. */
  readonly sampled: boolean | null
  readonly context: Extracted
}

/** Reads `b3`, else `x-b3-*`. */
export function extractB3(headers: HeaderMap): B3 {
  const single = headers.get('b3')
  if (single !== undefined) return parseSingleB3(single)
  const flag = headers.get('x-b3-sampled')
  const sampled = flag === undefined ? null : flag === '1' || flag.toLowerCase() === 'true'
  const traceId = headers.get('x-b3-traceid')
  const spanId = headers.get('x-b3-spanid')
  if (!traceId || !spanId) return { sampled, context: undefined }
  return { sampled, context: b3Context(traceId, spanId, headers.get('x-b3-parentspanid') ?? '', sampled) }
}

/** `{TraceId}-{SpanId}-{SamplingState}-{ParentSpanId}`, the last two optional, or the sampling state alone. */
function parseSingleB3(text: string): B3 {
  if (text.length === 1) return { sampled: samplingState(text), context: undefined }
  const [traceId = '', spanId = '', state, parentId = ''] = text.split('-')
  const sampled = state === undefined ? null : samplingState(state)
  return { sampled, context: b3Context(traceId, spanId, parentId, sampled) }
}

function samplingState(text: string): boolean | null {
  if (text === '1' || text === 'd') return true
  return text === '0' ? false : null
}

function b3Context(traceId: string, spanId: string, parentId: string, sampled: boolean | null): Extracted {
  if (!B3_TRACE_ID.test(traceId) || !B3_SPAN_ID.test(spanId) || (parentId !== '' && !B3_SPAN_ID.test(parentId)))
    return null
  return {
    traceId: traceId.toLowerCase(),
    spanId: spanId.toLowerCase(),
    parentId: ZEROS.test(parentId) ? '' : parentId.toLowerCase(),
    sampled: sampled ?? false,
    traceState: '',
  }
}

export interface B3Ids {
  readonly traceId: string
  readonly spanId: string
  readonly parentId: string
  readonly sampled: boolean
}

/** In the form in which the caller sent it: one `b3` header, else `x-b3-*`. */
export function injectB3(
  headers: HeaderMap,
  traceId: string,
  spanId: string,
  parentId: string,
  sampled: boolean,
): void {
  const flag = sampled ? '1' : '0'
  if (headers.has('b3')) {
    replace(headers, 'b3', `${traceId}-${spanId}-${flag}${parentId === '' ? '' : `-${parentId}`}`)
    return
  }
  replace(headers, 'x-b3-traceid', traceId)
  replace(headers, 'x-b3-spanid', spanId)
  if (parentId !== '') replace(headers, 'x-b3-parentspanid', parentId)
  replace(headers, 'x-b3-sampled', flag)
}

/** To the end, where Envoy writes it. */
export function replace(headers: HeaderMap, name: string, value: string): void {
  headers.remove(name)
  headers.list.push(name, value)
}
