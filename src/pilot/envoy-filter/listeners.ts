// EnvoyFilter on listeners: listener, listener filters, filter chains, network filters, HTTP filters, in that order.
import { clone } from '@bufbuild/protobuf'
import {
  type Filter,
  type FilterChain,
  FilterChainSchema,
  FilterSchema,
  type ListenerFilter,
  ListenerFilterSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import {
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
  type HttpFilter,
  HttpFilterSchema,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { CompiledPatch, PatchContext } from './compile.ts'
import { editAny, mergeMessage } from './merge.ts'
import { patchRouteConfiguration } from './routes.ts'
import { addsHere, contextMatches, NO_PATCHES, type PatchSet } from './select.ts'
import { patchSequence } from './sequence.ts'

const HCM_TYPE = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const VIRTUAL = new Set(['virtualInbound', 'virtualOutbound'])

/** The listeners of one context after its patches; the input is not changed. Without patches it is the input. */
export function patchListeners(listeners: Listener[], context: PatchContext, set: PatchSet): Listener[] {
  if (set === NO_PATCHES) return listeners
  const patcher = new ListenerPatcher(context, set)
  const out: Listener[] = []
  for (const listener of listeners) {
    const patched = patcher.patch(clone(ListenerSchema, listener))
    if (patched) out.push(patched)
  }
  for (const patch of set.patches.get('LISTENER') ?? []) {
    if (addsHere(patch, context)) out.push(clone(ListenerSchema, patch.value as Listener))
  }
  return out
}

class ListenerPatcher {
  private readonly context: PatchContext
  private readonly set: PatchSet

  constructor(context: PatchContext, set: PatchSet) {
    this.context = context
    this.set = set
  }

  patch(listener: Listener): Listener | null {
    for (const patch of this.of('LISTENER', listener)) {
      if (patch.operation === 'REMOVE') return null
      merge(ListenerSchema, listener, patch)
    }
    listener.listenerFilters = patchSequence(
      listener.listenerFilters,
      this.of('LISTENER_FILTER', listener),
      LISTENER_FILTERS,
    )
    const chains: FilterChain[] = []
    for (const chain of listener.filterChains) {
      const patched = this.patchChain(listener, chain)
      if (patched) chains.push(patched)
    }
    for (const patch of this.of('FILTER_CHAIN', listener)) {
      if (patch.operation === 'ADD') chains.push(clone(FilterChainSchema, patch.value as FilterChain))
    }
    listener.filterChains = chains
    if (listener.defaultFilterChain) {
      listener.defaultFilterChain = this.patchChain(listener, listener.defaultFilterChain) ?? undefined
    }
    return listener
  }

  /** Patches of a kind that this listener matches. */
  private of(applyTo: CompiledPatch['applyTo'], listener: Listener): CompiledPatch[] {
    return (this.set.patches.get(applyTo) ?? []).filter(
      (patch) => contextMatches(patch, this.context) && listenerMatches(listener, patch),
    )
  }

  private patchChain(listener: Listener, chain: FilterChain): FilterChain | null {
    const here = (patch: CompiledPatch) => chainMatches(listener, chain, patch)
    for (const patch of this.of('FILTER_CHAIN', listener).filter(here)) {
      if (patch.operation === 'REMOVE') return null
      merge(FilterChainSchema, chain, patch)
    }
    chain.filters = patchSequence(chain.filters, this.of('NETWORK_FILTER', listener).filter(here), NETWORK_FILTERS)
    const http = this.of('HTTP_FILTER', listener).filter(here)
    for (const filter of chain.filters) {
      if (filter.configType.case !== 'typedConfig' || filter.configType.value.typeUrl !== HCM_TYPE) continue
      const own = http.filter((patch) => networkFilterMatches(filter, patch))
      editAny(filter.configType.value, HttpConnectionManagerSchema, (manager) => this.patchManager(manager, own))
    }
    return chain
  }

  private patchManager(manager: HttpConnectionManager, patches: readonly CompiledPatch[]): void {
    let filters = manager.httpFilters
    const plain = patches.filter((patch) => patch.filterClass === 'UNSPECIFIED' || patch.operation !== 'ADD')
    for (const patch of patches) if (!plain.includes(patch)) filters = addByClass(filters, patch)
    manager.httpFilters = patchSequence(filters, plain, HTTP_FILTERS)
    if (manager.routeSpecifier.case === 'routeConfig') {
      manager.routeSpecifier.value = patchRouteConfiguration(manager.routeSpecifier.value, this.context, this.set)
    }
  }
}

function merge(
  schema:
    | typeof ListenerSchema
    | typeof FilterChainSchema
    | typeof FilterSchema
    | typeof HttpFilterSchema
    | typeof ListenerFilterSchema,
  target: Listener | FilterChain | Filter | HttpFilter | ListenerFilter,
  patch: CompiledPatch,
): void {
  if (patch.operation === 'MERGE') mergeMessage(schema, target, patch.value!, 'append')
  else if (patch.operation === 'MERGE_AND_REPLACE_LIST') mergeMessage(schema, target, patch.value!, 'replace')
}

function listenerMatches(listener: Listener, patch: CompiledPatch): boolean {
  const match = patch.match.listener
  if (!match) return true
  if (match.name && match.name !== listener.name) return false
  // The virtual listeners hold all ports: there the port is looked for in their filter chains.
  if (patch.applyTo !== 'LISTENER' && VIRTUAL.has(listener.name)) return true
  return !match.portNumber || portOf(listener) === match.portNumber
}

function portOf(listener: Listener): number {
  const address = listener.address?.address
  if (address?.case !== 'socketAddress' || address.value.portSpecifier.case !== 'portValue') return 0
  return address.value.portSpecifier.value
}

function chainMatches(listener: Listener, chain: FilterChain, patch: CompiledPatch): boolean {
  const match = patch.match.listener
  if (!match) return true
  const has = chain.filterChainMatch
  if (VIRTUAL.has(listener.name) && match.portNumber && has?.destinationPort !== match.portNumber) return false
  const wanted = match.filterChain
  if (!wanted) return true
  if (wanted.name && wanted.name !== chain.name) return false
  if (wanted.sni && !has?.serverNames.includes(wanted.sni)) return false
  if (wanted.transportProtocol && wanted.transportProtocol !== has?.transportProtocol) return false
  if (wanted.applicationProtocols) {
    const protocols = wanted.applicationProtocols.split(',').map((p) => p.trim())
    if (!protocols.every((p) => has?.applicationProtocols.includes(p))) return false
  }
  return !wanted.destinationPort || has?.destinationPort === undefined || has.destinationPort === wanted.destinationPort
}

function networkFilterMatches(filter: Filter, patch: CompiledPatch): boolean {
  const name = patch.match.listener?.filterChain?.filter?.name
  return !name || name === filter.name
}

const NETWORK_FILTERS = {
  named: (patch: CompiledPatch) => Boolean(patch.match.listener?.filterChain?.filter?.name),
  matches: networkFilterMatches,
  copy: (patch: CompiledPatch) => clone(FilterSchema, patch.value as Filter),
  merge: (filter: Filter, patch: CompiledPatch) => merge(FilterSchema, filter, patch),
}

const LISTENER_FILTERS = {
  named: (patch: CompiledPatch) => Boolean(patch.match.listener?.listenerFilter),
  matches: (filter: ListenerFilter, patch: CompiledPatch) => {
    const name = patch.match.listener?.listenerFilter
    return !name || name === filter.name
  },
  copy: (patch: CompiledPatch) => clone(ListenerFilterSchema, patch.value as ListenerFilter),
  merge: (filter: ListenerFilter, patch: CompiledPatch) => merge(ListenerFilterSchema, filter, patch),
}

const HTTP_FILTERS = {
  named: (patch: CompiledPatch) => Boolean(patch.match.listener?.filterChain?.filter?.subFilter?.name),
  matches: (filter: HttpFilter, patch: CompiledPatch) => {
    const name = patch.match.listener?.filterChain?.filter?.subFilter?.name
    return !name || name === filter.name
  },
  copy: (patch: CompiledPatch) => clone(HttpFilterSchema, patch.value as HttpFilter),
  merge: (filter: HttpFilter, patch: CompiledPatch) => merge(HttpFilterSchema, filter, patch),
}

/** The filters after which a class of added filters stands; STATS filters stand before Istio's own. */
const AUTHN_FILTERS = new Set(['envoy.filters.http.jwt_authn', 'istio_authn'])
const AUTHZ_FILTERS = new Set(['envoy.filters.http.rbac', 'envoy.filters.http.ext_authz'])
const STATS_FILTERS = new Set(['istio.stats'])

function addByClass(filters: readonly HttpFilter[], patch: CompiledPatch): HttpFilter[] {
  const added = clone(HttpFilterSchema, patch.value as HttpFilter)
  const names = filters.map((f) => f.name)
  const lastOf = (set: ReadonlySet<string>) => names.findLastIndex((name) => set.has(name))
  let at: number
  if (patch.filterClass === 'STATS') at = names.findIndex((name) => STATS_FILTERS.has(name))
  else {
    const last =
      patch.filterClass === 'AUTHN' ? lastOf(AUTHN_FILTERS) : Math.max(lastOf(AUTHN_FILTERS), lastOf(AUTHZ_FILTERS))
    // Without such a filter: right after metadata exchange, which every chain of ours begins with.
    at = last >= 0 ? last + 1 : names[0] === 'istio.metadata_exchange' ? 1 : 0
  }
  if (at < 0) at = Math.max(0, names.indexOf('envoy.filters.http.router'))
  return [...filters.slice(0, at), added, ...filters.slice(at)]
}
