// HttpProtocolOptions of a cluster, gathered while its policy is applied and written once.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import {
  HttpProtocolOptionsSchema as CommonHttpProtocolOptionsSchema,
  Http1ProtocolOptionsSchema,
  Http2ProtocolOptionsSchema,
  UpstreamHttpProtocolOptionsSchema,
} from '../../api/gen/envoy/config/core/v3/protocol_pb.js'
import { HttpProtocolOptionsSchema } from '../../api/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { PRESERVE_CASE } from '../xds/header-case.ts'
import { durationOf } from '../xds/messages.ts'

const EXTENSION = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

/** Protocol spoken to the upstream: `http1` is Envoy's default and needs no options of its own. */
export type UpstreamProtocol = 'http1' | 'http2' | 'downstream'

export interface HttpOptions {
  protocol: UpstreamProtocol
  maxRequestsPerConnection?: number
  idleTimeoutMs?: number
  maxConnectionDurationMs?: number
  maxConcurrentStreams?: number
  keepAlive?: { readonly intervalMs?: number; readonly timeoutMs?: number }
  autoSni?: boolean
  autoSan?: boolean
  errorCodes?: readonly number[]
  /** Header names of HTTP/1 keep their case. */
  preservesCase?: boolean
}

/** Writes the options into the cluster, unless they say nothing that Envoy would not do anyway. */
export function writeHttpOptions(cluster: Cluster, http: HttpOptions): void {
  const common =
    http.maxRequestsPerConnection !== undefined ||
    http.idleTimeoutMs !== undefined ||
    http.maxConnectionDurationMs !== undefined ||
    http.maxConcurrentStreams !== undefined ||
    http.keepAlive !== undefined
  const upstream = http.autoSni || http.autoSan
  if (http.protocol === 'http1' && !common && !upstream && !http.preservesCase) return
  const http1 = create(Http1ProtocolOptionsSchema, { headerKeyFormat: http.preservesCase ? PRESERVE_CASE : undefined })
  const http2 = create(Http2ProtocolOptionsSchema, {
    maxConcurrentStreams: http.maxConcurrentStreams === undefined ? undefined : http.maxConcurrentStreams,
    connectionKeepalive: http.keepAlive && {
      interval: http.keepAlive.intervalMs === undefined ? undefined : durationOf(http.keepAlive.intervalMs),
      timeout: http.keepAlive.timeoutMs === undefined ? undefined : durationOf(http.keepAlive.timeoutMs),
    },
  })
  const options = create(HttpProtocolOptionsSchema, {
    commonHttpProtocolOptions: common
      ? create(CommonHttpProtocolOptionsSchema, {
          maxRequestsPerConnection:
            http.maxRequestsPerConnection === undefined ? undefined : http.maxRequestsPerConnection,
          idleTimeout: http.idleTimeoutMs === undefined ? undefined : durationOf(http.idleTimeoutMs),
          maxConnectionDuration:
            http.maxConnectionDurationMs === undefined ? undefined : durationOf(http.maxConnectionDurationMs),
        })
      : undefined,
    upstreamHttpProtocolOptions: upstream
      ? create(UpstreamHttpProtocolOptionsSchema, {
          autoSni: http.autoSni ?? false,
          autoSanValidation: http.autoSan ?? false,
        })
      : undefined,
  })
  switch (http.protocol) {
    case 'http2':
      options.upstreamProtocolOptions = {
        case: 'explicitHttpConfig',
        value: {
          $typeName: 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig',
          protocolConfig: { case: 'http2ProtocolOptions', value: http2 },
        },
      }
      break
    case 'downstream':
      options.upstreamProtocolOptions = {
        case: 'useDownstreamProtocolConfig',
        value: {
          $typeName: 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig',
          httpProtocolOptions: http1,
          // Limits of HTTP/2 are for upstreams that are known to speak it.
          http2ProtocolOptions: create(Http2ProtocolOptionsSchema),
        },
      }
      break
    default:
      options.upstreamProtocolOptions = {
        case: 'explicitHttpConfig',
        value: {
          $typeName: 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig',
          protocolConfig: { case: 'httpProtocolOptions', value: http1 },
        },
      }
  }
  cluster.typedExtensionProtocolOptions[EXTENSION] = anyPack(HttpProtocolOptionsSchema, options)
}
