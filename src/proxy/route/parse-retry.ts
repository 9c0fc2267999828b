// RetryPolicy and HedgePolicy → plain data.

import {
  type HedgePolicy,
  type RetryPolicy,
  RetryPolicy_ResetHeaderFormat,
  type RetryPolicy_RetryHostPredicate,
  RetryPolicySchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { OmitCanaryHostsPredicateSchema } from '../../api/gen/envoy/extensions/retry/host/omit_canary_hosts/v3/omit_canary_hosts_pb.js'
import { OmitHostMetadataConfigSchema } from '../../api/gen/envoy/extensions/retry/host/omit_host_metadata/v3/omit_host_metadata_config_pb.js'
import { PreviousHostsPredicateSchema } from '../../api/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js'
import { PreviousPrioritiesConfigSchema } from '../../api/gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import { durationMs, durationMsOr } from '../config/duration.ts'
import type { ParseContext } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import type { HedgePolicyData, RetryHostPredicateData, RetryPolicyData } from './config.ts'
import { parseHeaderMatchers } from './header-matcher.ts'
import { parseLbMetadata } from './parse-common.ts'
import { parseRetryGrpcOn, parseRetryOn } from './retry-on.ts'

const SUPPORTED: ReadonlySet<string> = new Set([
  'retry_on', 'num_retries', 'per_try_timeout', 'per_try_idle_timeout', 'retry_priority', 'retry_host_predicate',
  'host_selection_retry_max_attempts', 'retriable_status_codes', 'retry_back_off', 'rate_limited_retry_back_off',
  'retriable_headers', 'retriable_request_headers',
]) // biome-ignore format: one list

/** Longest wait that a rate-limited upstream may ask for, unless max_interval says otherwise. */
const DEFAULT_RATE_LIMITED_MAX_MS = 300_000

export function parseRetryPolicy(policy: RetryPolicy, context: ParseContext): RetryPolicyData {
  refuseUnsupported(RetryPolicySchema, policy, SUPPORTED, context.path)
  return {
    retryOn: parseRetryOn(policy.retryOn) | parseRetryGrpcOn(policy.retryOn),
    numRetries: policy.numRetries ?? 1,
    perTryTimeoutMs: durationMsOr(policy.perTryTimeout, 0),
    perTryIdleTimeoutMs: durationMsOr(policy.perTryIdleTimeout, 0),
    retriableStatusCodes: policy.retriableStatusCodes,
    retriableHeaders: parseHeaderMatchers(policy.retriableHeaders, context.at('retriable_headers').path),
    retriableRequestHeaders: parseHeaderMatchers(
      policy.retriableRequestHeaders,
      context.at('retriable_request_headers').path,
    ),
    backOff: parseBackOff(policy, context),
    rateLimitedBackOff: parseRateLimitedBackOff(policy),
    hostPredicates: policy.retryHostPredicate.map((predicate, i) =>
      parseHostPredicate(predicate, context.at(`retry_host_predicate[${i}]`)),
    ),
    hostSelectionMaxAttempts: Number(policy.hostSelectionRetryMaxAttempts) || 1,
    previousPrioritiesFrequency: parseRetryPriority(policy, context.at('retry_priority')),
  }
}

function parseBackOff(policy: RetryPolicy, context: ParseContext): RetryPolicyData['backOff'] {
  const backOff = policy.retryBackOff
  if (!backOff?.baseInterval) return null
  const baseMs = Math.max(1, durationMs(backOff.baseInterval))
  const maxMs = durationMsOr(backOff.maxInterval, 10 * baseMs)
  if (maxMs < baseMs) {
    throw new ConfigError(
      context.at('retry_back_off').path,
      'max_interval must greater than or equal to the base_interval',
    )
  }
  return { baseMs, maxMs }
}

function parseRateLimitedBackOff(policy: RetryPolicy): RetryPolicyData['rateLimitedBackOff'] {
  const backOff = policy.rateLimitedRetryBackOff
  if (!backOff) return null
  return {
    resetHeaders: backOff.resetHeaders.map((header) => ({
      name: header.name.toLowerCase(),
      format: header.format === RetryPolicy_ResetHeaderFormat.UNIX_TIMESTAMP ? 'UNIX_TIMESTAMP' : 'SECONDS',
    })),
    maxMs: durationMsOr(backOff.maxInterval, DEFAULT_RATE_LIMITED_MAX_MS),
  }
}

function parseHostPredicate(predicate: RetryPolicy_RetryHostPredicate, context: ParseContext): RetryHostPredicateData {
  const any = predicate.configType.value
  // Istio and older configurations name these two without a typed_config; the name decides then.
  const type = any ? typeNameOf(any.typeUrl) : predicate.name
  switch (type) {
    case PreviousHostsPredicateSchema.typeName:
    case 'envoy.retry_host_predicates.previous_hosts':
      return { kind: 'previous_hosts' }
    case OmitCanaryHostsPredicateSchema.typeName:
    case 'envoy.retry_host_predicates.omit_canary_hosts':
      return { kind: 'omit_canary_hosts' }
    case OmitHostMetadataConfigSchema.typeName:
      return {
        kind: 'omit_host_metadata',
        metadata: parseLbMetadata(context.unpack(any!, OmitHostMetadataConfigSchema).metadataMatch) ?? {},
      }
    default:
      throw new ConfigError(
        context.path,
        `no retry host predicate "${predicate.name}" of type ${any?.typeUrl ?? '(empty)'}`,
      )
  }
}

function parseRetryPriority(policy: RetryPolicy, context: ParseContext): number {
  const any = policy.retryPriority?.configType.value
  if (!policy.retryPriority) return 0
  if (typeNameOf(any?.typeUrl ?? '') !== PreviousPrioritiesConfigSchema.typeName) {
    throw new ConfigError(
      context.path,
      `no retry priority "${policy.retryPriority.name}" of type ${any?.typeUrl ?? '(empty)'}`,
    )
  }
  return context.unpack(any!, PreviousPrioritiesConfigSchema).updateFrequency
}

/** initial_requests and additional_request_chance do nothing in Envoy either (its documentation says so). */
export function parseHedgePolicy(policy: HedgePolicy | undefined): HedgePolicyData | null {
  return policy ? { onPerTryTimeout: policy.hedgeOnPerTryTimeout } : null
}
