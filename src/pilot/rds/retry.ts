// Retry policies: Istio's default, the mesh's, and a VirtualService's.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { type RetryPolicy, RetryPolicySchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { PreviousHostsPredicateSchema } from '../../api/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js'
import { PreviousPrioritiesConfigSchema } from '../../api/gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js'
import type { HttpRetry, MeshConfig } from '../../config/index.ts'
import { durationOf } from '../xds/messages.ts'

const RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes'
const ATTEMPTS = 2
/** How often a host that was tried already may be drawn again before it is accepted. */
const HOST_SELECTION_ATTEMPTS = 5n

const PREVIOUS_HOSTS = {
  name: 'envoy.retry_host_predicates.previous_hosts',
  configType: {
    case: 'typedConfig' as const,
    value: anyPack(PreviousHostsPredicateSchema, create(PreviousHostsPredicateSchema)),
  },
}
const PREVIOUS_PRIORITIES = {
  name: 'envoy.retry_priorities.previous_priorities',
  configType: {
    case: 'typedConfig' as const,
    value: anyPack(PreviousPrioritiesConfigSchema, create(PreviousPrioritiesConfigSchema, { updateFrequency: 2 })),
  },
}

const WITH_PREDICATE = build(undefined, true)
const WITHOUT_PREDICATE = build(undefined, false)

/**
 * The policy of an outbound route; undefined for none (attempts 0). With consistent hashing to one destination a retry
 * must reach the same host, so hosts tried already are not avoided, unless retryIgnorePreviousHosts says so.
 */
export function outboundRetryPolicy(
  mesh: MeshConfig,
  asked: HttpRetry | undefined,
  hashedSingle: boolean,
): RetryPolicy | undefined {
  const wanted = asked ?? mesh.defaultHttpRetryPolicy
  if (!wanted) return hashedSingle ? WITHOUT_PREDICATE : WITH_PREDICATE
  if (!wanted.attempts) return undefined
  return build(wanted, wanted.retryIgnorePreviousHosts ?? !hashedSingle)
}

function build(wanted: HttpRetry | undefined, avoidPreviousHosts: boolean): RetryPolicy {
  const { retryOn, codes } = wanted?.retryOn ? splitRetryOn(wanted.retryOn) : { retryOn: RETRY_ON, codes: [] }
  return create(RetryPolicySchema, {
    retryOn,
    retriableStatusCodes: codes,
    numRetries: wanted?.attempts ?? ATTEMPTS,
    perTryTimeout: wanted?.perTryTimeout ? durationOf(wanted.perTryTimeout) : undefined,
    retryHostPredicate: avoidPreviousHosts ? [PREVIOUS_HOSTS] : [],
    hostSelectionRetryMaxAttempts: HOST_SELECTION_ATTEMPTS,
    retryPriority: wanted?.retryRemoteLocalities ? PREVIOUS_PRIORITIES : undefined,
    retryBackOff: wanted?.backoff ? { baseInterval: durationOf(wanted.backoff) } : undefined,
  })
}

/** Status codes in the list go to their own field; `retriable-status-codes` then says that they count. */
function splitRetryOn(text: string): { retryOn: string; codes: number[] } {
  const words: string[] = []
  const codes: number[] = []
  for (const part of text.split(',')) {
    const word = part.trim()
    if (word === '') continue
    if (/^\d+$/.test(word)) codes.push(Number(word))
    else words.push(word)
  }
  const conditions = words.join(',')
  // The comma stands there even when only codes were asked for, as istiod writes it.
  const counted = codes.length === 0 || conditions.includes('retriable-status-codes')
  return { retryOn: counted ? conditions : `${conditions},retriable-status-codes`, codes }
}

const INBOUND_RETRY_ON = 'reset-before-request'
const INBOUND = create(RetryPolicySchema, { retryOn: INBOUND_RETRY_ON, numRetries: ATTEMPTS })

/**
 * A connection that the application closed while idle: repeating is safe since nothing was sent. The mesh may say otherwise
 * (a field that istiod 1.32 does not know); there is one host, so nothing of hosts and localities applies.
 */
export function inboundRetryPolicy(mesh: MeshConfig): RetryPolicy | undefined {
  const wanted = mesh.defaultInboundHttpRetryPolicy
  if (!wanted) return INBOUND
  if (!wanted.attempts) return undefined
  const { retryOn, codes } = wanted.retryOn ? splitRetryOn(wanted.retryOn) : { retryOn: INBOUND_RETRY_ON, codes: [] }
  return create(RetryPolicySchema, {
    retryOn,
    retriableStatusCodes: codes,
    numRetries: wanted.attempts,
    perTryTimeout: wanted.perTryTimeout ? durationOf(wanted.perTryTimeout) : undefined,
    retryBackOff: wanted.backoff ? { baseInterval: durationOf(wanted.backoff) } : undefined,
  })
}
