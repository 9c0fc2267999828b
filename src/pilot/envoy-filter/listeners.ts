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
import type { Remark } from '../model/remarks.ts'
import type { CompiledPatch, PatchContext } from './compile.ts'
import { editAny, MergeMismatch, mergeAny, mergeMessage } from './merge.ts'
import { patchRouteConfiguration } from './routes.ts'
import { addsHere, contextMatches, NO_PATCHES, type PatchSet } from './select.ts'
import { arranged } from './sequence.ts'

const HCM_TYPE = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const HCM_NAME = 'envoy.filters.network.http_connection_manager'
const VIRTUAL = new Set(['virtualInbound', 'virtualOutbound'])

/**
 * The listeners of one context after its patches; the input is not changed. Without patches it is the input. `remarks`
 * takes what could not be merged: there everything stays as it was.
 */
export function patchListeners(
  listeners: Listener[],
  context: PatchContext,
  set: PatchSet,
  remarks: Remark[] = [],
): Listener[] {
  if (set === NO_PATCHES) return listeners
  const patcher = new ListenerPatcher(context, set, remarks)
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
  private readonly remarks: Remark[]

  constructor(context: PatchContext, set: PatchSet, remarks: Remark[]) {
    this.context = context
    this.set = set
    this.remarks = remarks
  }

  patch(listener: Listener): Listener | null {
    for (const patch of this.of('LISTENER', listener)) {
      if (patch.operation === 'REMOVE') return null
      merge(ListenerSchema, listener, patch)
    }
    this.patchListenerFilters(listener)
    const chains = listener.filterChains.filter((chain) => this.patchChain(listener, chain))
    for (const patch of this.of('FILTER_CHAIN', listener)) {
      const added = patch.operation === 'ADD' ? (patch.value as FilterChain) : null
      if (added && added.filters.length > 0) chains.push(clone(FilterChainSchema, added))
    }
    listener.filterChains = chains
    const last = listener.defaultFilterChain
    if (last && !this.patchChain(listener, last)) listener.defaultFilterChain = undefined
    return listener
  }

  /** Patches of a kind that this listener matches. */
  private of(applyTo: CompiledPatch['applyTo'], listener: Listener): CompiledPatch[] {
    return (this.set.patches.get(applyTo) ?? []).filter(
      (patch) => contextMatches(patch, this.context) && listenerMatches(listener, patch),
    )
  }

  /** Merges come in their turn among the others, and act on named filters only. */
  private patchListenerFilters(listener: Listener): void {
    for (const patch of this.of('LISTENER_FILTER', listener)) {
      if (patch.operation !== 'MERGE') {
        listener.listenerFilters = arranged(listener.listenerFilters, [patch], LISTENER_FILTERS)
      } else if (LISTENER_FILTERS.named(patch)) {
        for (const filter of listener.listenerFilters) {
          if (LISTENER_FILTERS.matches(filter, patch)) this.merging(listener, () => mergeConfig(filter, patch))
        }
      }
    }
  }

  /** False: removed. */
  private patchChain(listener: Listener, chain: FilterChain): boolean {
    const here = (patch: CompiledPatch) => chainMatches(listener, chain, patch)
    for (const patch of this.of('FILTER_CHAIN', listener).filter(here)) {
      if (patch.operation === 'REMOVE') return false
      this.merging(listener, () => mergeChain(chain, patch))
    }
    const patches = this.of('NETWORK_FILTER', listener).filter(here)
    chain.filters = arranged(chain.filters, patches, NETWORK_FILTERS)
    const http = this.of('HTTP_FILTER', listener).filter(here)
    for (const filter of chain.filters) {
      // An inline route configuration is patched as it was made, before what a patch merges into its filter.
      this.editManager(filter, (manager) => this.patchRoutes(manager))
      for (const patch of patches) {
        if (patch.operation !== 'MERGE' || !NETWORK_FILTERS.matches(filter, patch)) continue
        this.merging(listener, () => {
          mergeConfig(filter, patch)
          filter.name = (patch.value as Filter).name || filter.name
        })
      }
      if (filter.name !== HCM_NAME) continue
      const own = http.filter((patch) => NETWORK_FILTERS.matches(filter, patch))
      this.merging(listener, () => this.editManager(filter, (manager) => patchHttpFilters(manager, own)))
    }
    return true
  }

  private editManager(filter: Filter, edit: (manager: HttpConnectionManager) => void): void {
    if (filter.configType.case !== 'typedConfig' || filter.configType.value.typeUrl !== HCM_TYPE) return
    editAny(filter.configType.value, HttpConnectionManagerSchema, edit)
  }

  private patchRoutes(manager: HttpConnectionManager): void {
    if (manager.routeSpecifier.case !== 'routeConfig') return
    const { value } = manager.routeSpecifier
    manager.routeSpecifier.value = patchRouteConfiguration(value, this.context, this.set)
  }

  private merging(listener: Listener, run: () => void): void {
    try {
      run()
    } catch (error) {
      if (!(error instanceof MergeMismatch)) throw error
      const message = `listener ${listener.name}: EnvoyFilter: ${error.message}`
      this.remarks.push({ metric: 'pilot_envoy_filter_errors', key: listener.name, message })
    }
  }
}

/** Filters merge after all are in place; a filter may get another name by it. */
function patchHttpFilters(manager: HttpConnectionManager, patches: readonly CompiledPatch[]): void {
  manager.httpFilters = arranged(manager.httpFilters, patches, HTTP_FILTERS)
  for (const filter of manager.httpFilters) {
    for (const patch of patches) {
      if (patch.operation !== 'MERGE' || !HTTP_FILTERS.matches(filter, patch)) continue
      if (filter.configType.case !== 'typedConfig') continue
      mergeConfig(filter, patch)
      filter.name = (patch.value as HttpFilter).name || filter.name
    }
  }
}

/** Of a filter only its configuration merges. */
function mergeConfig(filter: Filter | HttpFilter | ListenerFilter, patch: CompiledPatch): void {
  const { configType } = patch.value as Filter | HttpFilter | ListenerFilter
  if (filter.configType.case !== 'typedConfig' || configType.case !== 'typedConfig') return
  mergeAny(filter.configType.value, configType.value)
}

/** A transport socket of the same name merges, and nothing else with it. */
function mergeChain(chain: FilterChain, patch: CompiledPatch): void {
  if (patch.operation !== 'MERGE' && patch.operation !== 'MERGE_AND_REPLACE_LIST') return
  const own = chain.transportSocket
  const socket = (patch.value as FilterChain).transportSocket
  if (!own || !socket || own.name !== socket.name) merge(FilterChainSchema, chain, patch)
  else if (own.configType.case === 'typedConfig' && socket.configType.case === 'typedConfig') {
    mergeAny(own.configType.value, socket.configType.value)
  }
}

function merge(
  schema: typeof ListenerSchema | typeof FilterChainSchema,
  target: Listener | FilterChain,
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
    const protocols = wanted.applicationProtocols.split(',')
    if (!protocols.every((p) => has?.applicationProtocols.includes(p))) return false
  }
  return !wanted.destinationPort || has?.destinationPort === wanted.destinationPort
}

const NETWORK_FILTERS = {
  named: (patch: CompiledPatch) => patch.match.listener?.filterChain?.filter !== undefined,
  matches: (filter: Filter, patch: CompiledPatch) => {
    const wanted = patch.match.listener?.filterChain?.filter
    return !wanted || (wanted.name ?? '') === filter.name
  },
  copy: (patch: CompiledPatch) => clone(FilterSchema, patch.value as Filter),
}

const LISTENER_FILTERS = {
  named: (patch: CompiledPatch) => Boolean(patch.match.listener?.listenerFilter),
  matches: (filter: ListenerFilter, patch: CompiledPatch) => {
    const name = patch.match.listener?.listenerFilter
    return !name || name === filter.name
  },
  copy: (patch: CompiledPatch) => clone(ListenerFilterSchema, patch.value as ListenerFilter),
}

const HTTP_FILTERS = {
  named: (patch: CompiledPatch) => patch.match.listener?.filterChain?.filter?.subFilter !== undefined,
  matches: (filter: HttpFilter, patch: CompiledPatch) => {
    const wanted = patch.match.listener?.filterChain?.filter?.subFilter
    return !wanted || (wanted.name ?? '') === filter.name
  },
  copy: (patch: CompiledPatch) => clone(HttpFilterSchema, patch.value as HttpFilter),
}
