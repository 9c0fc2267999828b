// istio.metadata_exchange for HTTP (io.istio.http.peer_metadata): configuration.

import {
  type Config,
  type Config_DiscoveryMethod,
  type Config_PropagationMethod,
  ConfigSchema,
} from '../../../../api/gen/istio/peer_metadata_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { createMetadataExchangeFilter } from './filter.ts'

/** Which way peers are learned and told. */
export interface MetadataExchangeConfig {
  readonly discoverDownstream: boolean
  readonly discoverUpstream: boolean
  readonly propagateDownstream: boolean
  readonly propagateUpstream: boolean
  /** Nothing is told to clusters that lead out of the mesh. */
  readonly skipExternalClusters: boolean
}

export const metadataExchangeFilter: HttpFilterExtension<MetadataExchangeConfig> = {
  name: 'istio.metadata_exchange',
  desc: ConfigSchema,
  parse: (message, context) => {
    const config = message as Config
    if (config.additionalLabels.length > 0) {
      throw new ConfigError(context.at('additional_labels').path, 'not supported by this proxy; remove the field')
    }
    return {
      discoverDownstream: discovers(config.downstreamDiscovery, context.at('downstream_discovery')),
      discoverUpstream: discovers(config.upstreamDiscovery, context.at('upstream_discovery')),
      propagateDownstream: propagates(config.downstreamPropagation, context.at('downstream_propagation')),
      propagateUpstream: propagates(config.upstreamPropagation, context.at('upstream_propagation')),
      skipExternalClusters: config.upstreamPropagation.some(
        ({ methodSpecifier }) => methodSpecifier.case === 'istioHeaders' && methodSpecifier.value.skipExternalClusters,
      ),
    }
  },
  create: createMetadataExchangeFilter,
}

/** Workload discovery needs a bootstrap extension that no sidecar here has: without it, it finds nobody. */
function discovers(methods: readonly Config_DiscoveryMethod[], context: ParseContext): boolean {
  refuseBaggage(methods, context)
  return methods.some(({ methodSpecifier }) => methodSpecifier.case === 'istioHeaders')
}

function propagates(methods: readonly Config_PropagationMethod[], context: ParseContext): boolean {
  refuseBaggage(methods, context)
  return methods.some(({ methodSpecifier }) => methodSpecifier.case === 'istioHeaders')
}

function refuseBaggage(
  methods: readonly (Config_DiscoveryMethod | Config_PropagationMethod)[],
  context: ParseContext,
): void {
  const at = methods.findIndex(({ methodSpecifier }) => methodSpecifier.case === 'baggage')
  if (at >= 0)
    throw new ConfigError(context.at(`[${at}].baggage`).path, 'not supported by this proxy; use istio_headers')
}
