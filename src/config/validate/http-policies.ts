// Retries, faults, CORS and the value matches of an HTTP route.
import { STATUS_CODES } from 'node:http'
import { GRPC_STATUS_NAMES } from '../../base/grpc-status.ts'
import type { Percent, StringMatch } from '../resources/common.ts'
import type { CorsPolicy, HttpFaultInjection, HttpRetry } from '../resources/virtual-service.ts'
import type { Problems } from '../schema.ts'
import { checkHeaderName, isToken } from './common.ts'
import { checkRegex } from './regex.ts'

/** No text at all asks for presence, or for anything where something always is. */
export function checkStringMatch(match: StringMatch, path: string, problems: Problems): void {
  if (match.regex !== undefined) {
    if (match.regex === '*')
      problems.error(`${path}.regex`, '"*" is not a regular expression', 'use ".*", or an empty match for presence')
    else if (match.regex === '') problems.error(`${path}.regex`, 'must not be empty')
    else checkRegex(match.regex, `${path}.regex`, problems)
  }
  if (match.prefix === '') problems.error(`${path}.prefix`, 'must not be empty')
}

const RETRY_ON = new Set([
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'retriable-4xx',
  'refused-stream',
  'retriable-status-codes',
  'retriable-headers',
  'envoy-ratelimited',
  'http3-post-connect-failure',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
])

/** Statuses with a name of their own; istiod knows no others. */
const NAMED_STATUS = new Set(Object.keys(STATUS_CODES).filter((status) => status !== '509'))

export function validateRetries(retries: HttpRetry, path: string, problems: Problems): void {
  const { attempts = 0 } = retries
  if (attempts < 0) problems.error(`${path}.attempts`, 'must not be negative')
  if (attempts === 0 && (retries.perTryTimeout !== undefined || retries.retryOn || retries.retryRemoteLocalities)) {
    problems.error(path, 'cannot configure retries with attempts 0')
  }
  if (!retries.retryOn) return
  for (const condition of retries.retryOn.split(',')) {
    if (RETRY_ON.has(condition) || NAMED_STATUS.has(condition)) continue
    const hint = condition.trim() === condition ? undefined : 'separate the conditions by a comma alone, without blanks'
    problems.error(`${path}.retryOn`, `"${condition}" is not a valid retryOn policy`, hint)
  }
}

export function validateFault(fault: HttpFaultInjection, path: string, problems: Problems): void {
  if (!fault.delay && !fault.abort) problems.error(path, 'must have a delay or an abort')
  const { delay, abort } = fault
  if (delay) {
    const { percent } = delay
    if (percent !== undefined && (percent < 0 || percent > 100))
      problems.error(`${path}.delay.percent`, 'must be in range 0..100')
    checkPercent(delay.percentage, `${path}.delay.percentage`, problems)
    const time = delay.fixedDelay ?? delay.exponentialDelay
    if (time === undefined) problems.warning(`${path}.delay.fixedDelay`, 'is not set: there is no delay')
    if (delay.exponentialDelay !== undefined) problems.error(`${path}.delay.exponentialDelay`, 'is not supported')
  }
  if (abort) {
    checkPercent(abort.percentage, `${path}.abort.percentage`, problems)
    const { httpStatus, grpcStatus } = abort
    if (abort.http2Error !== undefined) problems.error(`${path}.abort.http2Error`, 'is not supported')
    else if (httpStatus === undefined && grpcStatus === undefined)
      problems.warning(`${path}.abort`, 'has neither httpStatus nor grpcStatus: nothing is aborted')
    if (httpStatus !== undefined && (httpStatus < 200 || httpStatus > 600)) {
      problems.error(`${path}.abort.httpStatus`, `must be in range 200..600, is ${httpStatus}`)
    }
    if (grpcStatus !== undefined && !GRPC_STATUS_NAMES.includes(grpcStatus)) {
      problems.error(`${path}.abort.grpcStatus`, `"${grpcStatus}" is not a gRPC status`)
    }
  }
}

export function checkPercent(percent: Percent | undefined, path: string, problems: Problems): void {
  if (!percent) return
  const { value = 0 } = percent
  if (value < 0 || value > 100) problems.error(`${path}.value`, `must be in range 0..100, is ${value}`)
  else if (value > 0 && value < 0.0001) problems.error(`${path}.value`, 'is below the smallest share, 0.0001')
}

export function validateCors(cors: CorsPolicy, path: string, problems: Problems): void {
  cors.allowOrigins?.forEach((origin, i) => {
    const at = `${path}.allowOrigins[${i}]`
    if (!origin.exact && !origin.prefix && !origin.regex) problems.error(at, 'must set exact, prefix or regex')
    else checkStringMatch(origin, at, problems)
  })
  cors.allowMethods?.forEach((method, i) => {
    if (!/^(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|\*)$/.test(method)) {
      problems.error(`${path}.allowMethods[${i}]`, `"${method}" is not a method`)
    }
  })
  for (const name of ['allowHeaders', 'exposeHeaders'] as const) {
    cors[name]?.forEach((header, i) => {
      if (!isToken(header)) checkHeaderName(header, `${path}.${name}[${i}]`, problems)
    })
  }
  if (cors.maxAge !== undefined && (cors.maxAge < 0 || cors.maxAge % 1000 !== 0)) {
    problems.error(`${path}.maxAge`, 'must be whole seconds')
  }
}
