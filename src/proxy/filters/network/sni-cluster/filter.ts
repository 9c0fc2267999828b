// envoy.filters.network.sni_cluster: the SNI is the cluster's name (Istio's AUTO_PASSTHROUGH gateways).

import { SniClusterSchema } from '../../../../api/gen/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster_pb.js'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import { TCP_PROXY_CLUSTER } from '../tcp-proxy/filter.ts'

class SniClusterFilter implements NetworkFilter {
  private readonly callbacks: ReadFilterCallbacks
  constructor(callbacks: ReadFilterCallbacks) {
    this.callbacks = callbacks
  }
  onNewConnection(): FilterStatus {
    const sni = this.callbacks.connection.info.requestedServerName
    if (sni !== '') this.callbacks.filterState.set(TCP_PROXY_CLUSTER, sni)
    return FilterStatus.Continue
  }
  onData(): FilterStatus {
    return FilterStatus.Continue
  }
  onEvent(): void {}
}

export const sniCluster: NetworkFilterExtension = {
  name: 'envoy.filters.network.sni_cluster',
  desc: SniClusterSchema,
  parse: () => ({}),
  create: () => (callbacks) => new SniClusterFilter(callbacks),
}
