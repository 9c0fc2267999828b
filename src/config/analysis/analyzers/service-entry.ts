// ServiceEntries: addresses that TCP needs, and conflicting protocols.

import type { Analyzer, Entry } from '../context.ts'
import { list, record, strings, text } from '../fields.ts'
import { ConflictingServiceEntryProtocol, ServiceEntryAddressesRequired } from '../messages.ts'

export const addressesAnalyzer: Analyzer = {
  name: 'serviceentry.Analyzer',
  description: 'Checks if ServiceEntry addresses are set for TCP or unset protocol',
  run(context) {
    const metadata = context.options.proxyMetadata
    const autoAllocate = metadata.ISTIO_META_DNS_AUTO_ALLOCATE === 'true' && metadata.ISTIO_META_DNS_CAPTURE === 'true'
    if (autoAllocate) return
    for (const entry of context.istio('ServiceEntry', 'networking')) {
      if (strings(entry.spec.addresses).length > 0 || list(record(entry.item.object.status).addresses).length > 0)
        continue
      for (const [i, port] of list(entry.spec.ports).entries()) {
        const protocol = text(port.protocol).toUpperCase()
        if (protocol === '' || protocol === 'TCP')
          context.report(ServiceEntryAddressesRequired, entry, `spec.ports[${i}].protocol`)
      }
    }
  },
}

interface Use {
  readonly entry: Entry
  readonly protocol: string
  readonly scopes: readonly string[]
}

export const conflictingProtocolAnalyzer: Analyzer = {
  name: 'serviceentry.ConflictingServiceEntryProtocolAnalyzer',
  description: 'Checks for ServiceEntries that give one host and port different protocols',
  run(context) {
    const uses = new Map<string, Use[]>()
    for (const entry of context.istio('ServiceEntry', 'networking')) {
      const exportTo = strings(entry.spec.exportTo)
      const scopes = exportTo.length === 0 ? ['*'] : exportTo.map((scope) => (scope === '.' ? entry.namespace : scope))
      for (const host of strings(entry.spec.hosts)) {
        for (const port of list(entry.spec.ports)) {
          const key = `${host}|${String(port.number)}`
          uses.set(key, [
            ...(uses.get(key) ?? []),
            { entry, protocol: text(port.protocol).toUpperCase() || 'TCP', scopes },
          ])
        }
      }
    }
    for (const [key, list_] of uses) {
      const [host, port] = key.split('|') as [string, string]
      for (const use of list_) {
        const conflicting = list_.filter(
          (other) => other === use || (other.protocol !== use.protocol && shareScope(use, other)),
        )
        if (conflicting.length < 2) continue
        const names = [...new Set(conflicting.map((other) => other.entry.key))].sort().join(', ')
        const protocols = [...new Set(conflicting.map((other) => other.protocol))].sort().join(', ')
        context.report(ConflictingServiceEntryProtocol, use.entry, 'spec.hosts', names, host, port, protocols)
      }
    }
  },
}

function shareScope(a: Use, b: Use): boolean {
  return a.scopes.includes('*') || b.scopes.includes('*') || a.scopes.some((scope) => b.scopes.includes(scope))
}
