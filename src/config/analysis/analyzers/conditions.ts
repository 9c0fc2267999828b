// Conditions in statuses that say that something is not as it should be.

import type { Analyzer } from '../context.ts'
import { list, record, text } from '../fields.ts'
import { NegativeConditionStatus } from '../messages.ts'

const WAYPOINT = new Set(['istio.io/WaypointBound'])
const GATEWAY_API = new Set(['Accepted', 'Programmed', 'ResolvedRefs'])

/** Conditions that are bad news when False, by kind. */
const NEGATIVE: Readonly<Record<string, ReadonlySet<string>>> = {
  Service: WAYPOINT,
  'ServiceEntry.networking.istio.io': WAYPOINT,
  'WorkloadEntry.networking.istio.io': WAYPOINT,
  'AuthorizationPolicy.security.istio.io': new Set(['ZtunnelAccepted', 'WaypointAccepted']),
  'Gateway.gateway.networking.k8s.io': GATEWAY_API,
  'HTTPRoute.gateway.networking.k8s.io': GATEWAY_API,
  'GRPCRoute.gateway.networking.k8s.io': GATEWAY_API,
}

export const conditionAnalyzer: Analyzer = {
  name: 'conditions.ConditionAnalyzer',
  description: 'Checks for negative status conditions on resources',
  run(context) {
    for (const [kind, types] of Object.entries(NEGATIVE)) {
      for (const entry of context.all(kind)) {
        const status = record(entry.item.object.status)
        const conditions = [
          ...list(status.conditions),
          ...list(status.parents).flatMap((parent) => list(parent.conditions)),
        ]
        for (const { type, status: is, reason, message } of conditions) {
          const partly = type === 'WaypointAccepted' && reason === 'PartiallyInvalid'
          if (!types.has(text(type)) || (is !== 'False' && !partly)) continue
          context.report(NegativeConditionStatus, entry, 'metadata.name', text(type), text(reason), text(message))
        }
      }
    }
  },
}
