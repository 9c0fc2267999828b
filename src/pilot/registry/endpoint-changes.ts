// What a change of a service's endpoints means to those who are not told of endpoints themselves.
import { compareText } from '../model/host.ts'
import type { EndpointSet } from '../model/service.ts'

/** What clusters take from endpoints: who they are, and at which ports all of them speak mutual TLS. */
export function sameIdentity(a: EndpointSet | undefined, b: EndpointSet | undefined): boolean {
  if (!a || !b) return false
  return (
    a.serviceAccounts.length === b.serviceAccounts.length &&
    a.serviceAccounts.every((account, i) => account === b.serviceAccounts[i]) &&
    mutualTlsPorts(a) === mutualTlsPorts(b) &&
    (a.endpoints.length === 0) === (b.endpoints.length === 0)
  )
}

/** Adds the addresses that only one of two sets has. */
export function collectMoved(a: EndpointSet | undefined, b: EndpointSet | undefined, into: Set<string>): void {
  const before = new Set(a?.endpoints.map((e) => e.address))
  const after = new Set(b?.endpoints.map((e) => e.address))
  for (const address of before) if (!after.has(address)) into.add(address)
  for (const address of after) if (!before.has(address)) into.add(address)
}

/** The ports, by name, at which every endpoint accepts Istio mutual TLS, as one text. */
function mutualTlsPorts({ endpoints }: EndpointSet): string {
  const ports = new Map<string, boolean>()
  for (const { portName, tlsMode } of endpoints)
    ports.set(portName, tlsMode === 'istio' && (ports.get(portName) ?? true))
  return JSON.stringify([...ports].filter(([, all]) => all).sort(([x], [y]) => compareText(x, y)))
}
