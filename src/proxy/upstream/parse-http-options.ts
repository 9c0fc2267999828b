// envoy.extensions.upstreams.http.v3.HttpProtocolOptions and the deprecated fields of Cluster that say the same.

import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { Cluster_ClusterProtocolSelection } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type {
  Http1ProtocolOptions,
  Http2ProtocolOptions,
  UpstreamHttpProtocolOptions,
} from '../../api/gen/envoy/config/core/v3/protocol_pb.js'
import { UpstreamTlsContextSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import {
  type HttpProtocolOptions,
  HttpProtocolOptionsSchema,
} from '../../api/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { parseCommonHttpOptions, parseHttp1Options, parseHttp2Options } from '../http/parse-options.ts'
import type { HttpProtocolData } from './config.ts'
import { parseUpstreamHttpFilters } from './parse-http-filters.ts'

export const HTTP_PROTOCOL_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

/**
 * Options of a cluster: the extension wins over the deprecated fields; none of both = HTTP/1.1. `http2_protocol_options` of
 * the cluster, though empty, choose HTTP/2 (Envoy).
 */
export function parseHttpProtocol(cluster: Cluster, context: ParseContext, forwardProxy: boolean): HttpProtocolData {
  const any = cluster.typedExtensionProtocolOptions[HTTP_PROTOCOL_OPTIONS]
  if (any) {
    const at = context.at(`typed_extension_protocol_options["${HTTP_PROTOCOL_OPTIONS}"]`)
    const options = parseOptions(at.unpack(any, HttpProtocolOptionsSchema), at)
    const socket = cluster.transportSocket?.configType.value
    if (options.selection === 'auto' && typeNameOf(socket?.typeUrl ?? '') !== UpstreamTlsContextSchema.typeName)
      throw new ConfigError(
        at.at('auto_config').path,
        `ALPN configured for cluster ${cluster.name} which has a non-ALPN transport socket`,
      )
    return options
  }
  const useDownstream = cluster.protocolSelection === Cluster_ClusterProtocolSelection.USE_DOWNSTREAM_PROTOCOL
  const configured = cluster.http2ProtocolOptions ? 'http2' : 'http1'
  return {
    selection: useDownstream ? 'use_downstream' : configured,
    http1: parseHttp1Options(cluster.httpProtocolOptions, context.at('http_protocol_options').path),
    http2: parseHttp2Options(cluster.http2ProtocolOptions),
    common: {
      ...parseCommonHttpOptions(cluster.commonHttpProtocolOptions),
      ...(cluster.maxRequestsPerConnection ? { maxRequestsPerConnection: cluster.maxRequestsPerConnection } : {}),
    },
    // A dynamic forward proxy verifies the names it was asked for unless it is told not to.
    autoSni: cluster.upstreamHttpProtocolOptions?.autoSni ?? forwardProxy,
    autoSanValidation: cluster.upstreamHttpProtocolOptions?.autoSanValidation ?? forwardProxy,
    overrideAutoSniHeader: cluster.upstreamHttpProtocolOptions?.overrideAutoSniHeader.toLowerCase() ?? '',
    filters: null,
  }
}

/** upstream_http_protocol_options of the extension, else of the cluster; undefined = none are given. */
export function upstreamHttpOptions(cluster: Cluster, context: ParseContext): UpstreamHttpProtocolOptions | undefined {
  const any = cluster.typedExtensionProtocolOptions[HTTP_PROTOCOL_OPTIONS]
  if (!any) return cluster.upstreamHttpProtocolOptions
  const at = context.at(`typed_extension_protocol_options["${HTTP_PROTOCOL_OPTIONS}"]`)
  return at.unpack(any, HttpProtocolOptionsSchema).upstreamHttpProtocolOptions
}

function parseOptions(options: HttpProtocolOptions, context: ParseContext): HttpProtocolData {
  if (options.headerValidationConfig) {
    throw new ConfigError(context.at('header_validation_config').path, 'not supported by this proxy; remove the field')
  }
  const { selection, http1, http2 } = parseSelection(options, context)
  const largest = options.commonHttpProtocolOptions?.maxResponseHeadersKb
  if (largest !== undefined && (http2?.maxHeaderFieldSizeKb ?? 0) > largest)
    throw new ConfigError(context.path, 'max_header_field_size_kb must not exceed max_response_headers_kb')
  return {
    selection,
    http1: parseHttp1Options(http1, context.path),
    http2: parseHttp2Options(http2),
    common: parseCommonHttpOptions(options.commonHttpProtocolOptions),
    autoSni: options.upstreamHttpProtocolOptions?.autoSni ?? false,
    autoSanValidation: options.upstreamHttpProtocolOptions?.autoSanValidation ?? false,
    overrideAutoSniHeader: options.upstreamHttpProtocolOptions?.overrideAutoSniHeader.toLowerCase() ?? '',
    filters:
      options.httpFilters.length === 0 ? null : parseUpstreamHttpFilters(options.httpFilters, context, 'http_filters'),
  }
}

interface Selection {
  readonly selection: HttpProtocolData['selection']
  readonly http1: Http1ProtocolOptions | undefined
  readonly http2: Http2ProtocolOptions | undefined
}

function parseSelection(options: HttpProtocolOptions, context: ParseContext): Selection {
  const choice = options.upstreamProtocolOptions
  switch (choice.case) {
    case 'explicitHttpConfig': {
      const explicit = choice.value.protocolConfig
      if (explicit.case === 'http2ProtocolOptions')
        return { selection: 'http2', http1: undefined, http2: explicit.value }
      if (explicit.case === 'httpProtocolOptions')
        return { selection: 'http1', http1: explicit.value, http2: undefined }
      throw new ConfigError(context.at('explicit_http_config').path, 'HTTP/3 upstreams are not supported by this proxy')
    }
    case 'useDownstreamProtocolConfig':
      if (choice.value.http3ProtocolOptions) {
        throw new ConfigError(
          context.at('use_downstream_protocol_config').path,
          'HTTP/3 upstreams are not supported by this proxy',
        )
      }
      return {
        selection: 'use_downstream',
        http1: choice.value.httpProtocolOptions,
        http2: choice.value.http2ProtocolOptions,
      }
    case 'autoConfig':
      if (choice.value.http3ProtocolOptions || choice.value.alternateProtocolsCacheOptions) {
        throw new ConfigError(context.at('auto_config').path, 'HTTP/3 upstreams are not supported by this proxy')
      }
      return { selection: 'auto', http1: choice.value.httpProtocolOptions, http2: choice.value.http2ProtocolOptions }
    default:
      throw new ConfigError(
        context.path,
        'one of explicit_http_config, use_downstream_protocol_config, auto_config is required',
      )
  }
}
