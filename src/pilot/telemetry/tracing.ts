// The tracing block of HTTP connection managers.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import {
  type HttpConnectionManager_Tracing,
  HttpConnectionManager_TracingSchema,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { type CustomTag, CustomTagSchema } from '../../api/gen/envoy/type/tracing/v3/custom_tag_pb.js'
import type { ProxyConfig } from '../../config/index.ts'
import { compareText } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import { proxyConfigOf } from '../model/proxy-config.ts'
import type { PushContext } from '../model/push-context.ts'
import type { SideTelemetry } from './telemetry.ts'
import { buildTracer } from './tracer.ts'

/** Share of requests traced when nobody says otherwise, in percent. */
const DEFAULT_SAMPLING = 1
const ALL = 100

/** Null when tracing is off. */
export function buildTracing(
  push: Pick<PushContext, 'mesh' | 'services'>,
  proxy: ProxyNode,
  tracing: SideTelemetry['tracing'],
): HttpConnectionManager_Tracing | undefined {
  if (tracing.disabled) return undefined
  const { mesh } = push
  const own = proxyConfigOf(proxy, mesh).tracing ?? {}
  const tracer = buildTracer(push, proxy, tracing.provider)
  // Spans that could go nowhere are not made.
  if (tracing.provider && !tracer) return undefined
  const sampling = tracer?.samples ? ALL : (tracing.randomSamplingPercentage ?? (own.sampling || DEFAULT_SAMPLING))
  const maxPathTagLength = tracer?.maxTagLength || own.maxPathTagLength || undefined
  return create(HttpConnectionManager_TracingSchema, {
    clientSampling: { value: 100 },
    overallSampling: { value: 100 },
    randomSampling: { value: sampling },
    maxPathTagLength,
    customTags: customTags(own, proxy, tracing),
    spawnUpstreamSpan: tracer?.upstreamSpan ? true : undefined,
    noContextPropagation: tracing.disableContextPropagation,
    provider: tracer?.config,
  })
}

const DRY_RUN_TAGS: readonly CustomTag[] = ['allow', 'deny'].flatMap((action) => [
  dryRunTag(`${action}_policy.name`, `istio_dry_run_${action}_shadow_effective_policy_id`),
  dryRunTag(`${action}_policy.result`, `istio_dry_run_${action}_shadow_engine_result`),
])

function dryRunTag(name: string, key: string): CustomTag {
  return create(CustomTagSchema, {
    tag: `istio.authorization.dry_run.${name}`,
    type: {
      case: 'metadata',
      value: {
        kind: { kind: { case: 'request', value: {} } },
        metadataKey: { key: 'envoy.filters.http.rbac', path: [{ segment: { case: 'key', value: key } }] },
      },
    },
  })
}

function customTags(
  own: NonNullable<ProxyConfig['tracing']>,
  proxy: ProxyNode,
  tracing: SideTelemetry['tracing'],
): CustomTag[] {
  const tags: CustomTag[] = []
  if (tracing.enableIstioTags ?? own.enableIstioTags ?? true) {
    tags.push(...DRY_RUN_TAGS)
    const { labels, metadata } = proxy
    const meshId = metadata.MESH_ID
    tags.push(
      // Injection gives every pod these labels; what has none was not injected.
      literal('istio.canonical_revision', labels['service.istio.io/canonical-revision'] || 'latest'),
      literal('istio.canonical_service', labels['service.istio.io/canonical-name'] || 'unknown'),
      literal('istio.cluster_id', proxy.clusterId || 'unknown'),
      literal('istio.mesh_id', typeof meshId === 'string' && meshId !== '' ? meshId : 'unknown'),
      literal('istio.namespace', proxy.namespace || 'default'),
    )
  }
  const asked = tracing.customTags ?? own.customTags ?? {}
  for (const [tag, value] of Object.entries(asked)) {
    const type = tagType(value)
    if (type) tags.push(create(CustomTagSchema, { tag, type }))
  }
  return tags.sort((a, b) => compareText(a.tag, b.tag))
}

function literal(tag: string, value: string): CustomTag {
  return create(CustomTagSchema, { tag, type: { case: 'literal', value: { value } } })
}

interface AskedTag {
  readonly literal?: { readonly value?: string }
  readonly environment?: { readonly name?: string; readonly defaultValue?: string }
  readonly header?: { readonly name?: string; readonly defaultValue?: string }
  readonly formatter?: { readonly value?: string }
}

function tagType(tag: AskedTag): MessageInitShape<typeof CustomTagSchema>['type'] {
  if (tag.literal) return { case: 'literal', value: { value: tag.literal.value ?? '' } }
  if (tag.environment) {
    const { name = '', defaultValue = '' } = tag.environment
    return { case: 'environment', value: { name, defaultValue } }
  }
  if (tag.header) {
    const { name = '', defaultValue = '' } = tag.header
    return { case: 'requestHeader', value: { name, defaultValue } }
  }
  return tag.formatter ? { case: 'value', value: tag.formatter.value ?? '' } : undefined
}
