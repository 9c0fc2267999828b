// istio.alpn: tells the upstream TLS connection which protocols to offer, so that the peer's sidecar can tell mesh
// traffic (`istio`, `istio-http/1.1`, …) from everybody else's.

import type { WorkerContext } from '../../../config/extension.ts'
import { Protocol } from '../../../http/codec.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import { PassThroughDecoderFilter } from '../pass-through.ts'
import { UPSTREAM_ALPN_KEY } from '../router/host-choice.ts'
import type { AlpnConfig } from './config.ts'

/** Equal lists of all listeners are one object: connection pools compare them by identity. */
const lists = new Map<string, readonly string[]>()

function shared(list: readonly string[] | null): readonly string[] | null {
  if (list === null) return null
  const key = list.join()
  const known = lists.get(key)
  if (known) return known
  lists.set(key, list)
  return list
}

export function createAlpnFilter(config: AlpnConfig, context: WorkerContext): HttpFilterFactory {
  const interned: AlpnConfig = {
    http10: shared(config.http10),
    http11: shared(config.http11),
    http2: shared(config.http2),
  }
  return (callbacks) => callbacks.addStreamDecoderFilter(new AlpnFilter(interned, context.clusters))
}

class AlpnFilter extends PassThroughDecoderFilter {
  private readonly config: AlpnConfig
  private readonly clusters: ClusterManager

  constructor(config: AlpnConfig, clusters: ClusterManager) {
    super()
    this.config = config
    this.clusters = clusters
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const route = this.callbacks.route()
    if (route === null || route.forward === null) return FilterHeadersStatus.Continue
    const cluster = this.clusters.get(route.clusterName(headers))
    if (cluster === undefined || disabled(cluster.metadata.istio)) return FilterHeadersStatus.Continue
    const { streamInfo } = this.callbacks
    const list = this.listFor(cluster.upstreamProtocol(streamInfo.protocol))
    if (list !== null) streamInfo.filterState.set(UPSTREAM_ALPN_KEY, list)
    return FilterHeadersStatus.Continue
  }

  private listFor(protocol: Protocol): readonly string[] | null {
    if (protocol === Protocol.Http2) return this.config.http2
    return protocol === Protocol.Http10 ? this.config.http10 : this.config.http11
  }
}

/** A cluster that speaks plain TLS to a foreign server says `istio.alpn_override: "false"`. */
function disabled(metadata: Readonly<Record<string, unknown>> | undefined): boolean {
  return metadata?.alpn_override === 'false'
}
