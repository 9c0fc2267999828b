// EnvoyFilters whose patches do not do what they look like.

import type { Analyzer, Entry } from '../context.ts'
import { list, record, text } from '../fields.ts'
import {
  EnvoyFilterUsesAddOperationIncorrectly,
  EnvoyFilterUsesRelativeOperation,
  EnvoyFilterUsesRelativeOperationWithProxyVersion,
  EnvoyFilterUsesRemoveOperationIncorrectly,
  EnvoyFilterUsesReplaceOperationIncorrectly,
  type MessageType,
} from '../messages.ts'

const RELATIVE = new Set(['INSERT_BEFORE', 'INSERT_AFTER', 'REPLACE', 'MERGE', 'REMOVE'])
const ROUTES = new Set(['ROUTE_CONFIGURATION', 'HTTP_ROUTE'])
const REPLACEABLE = new Set(['HTTP_FILTER', 'NETWORK_FILTER', 'VIRTUAL_HOST'])

export const envoyPatchAnalyzer: Analyzer = {
  name: 'envoyfilter.EnvoyPatchAnalyzer',
  description: 'Checks an envoyFilters',
  run(context) {
    for (const filter of context.istio('EnvoyFilter', 'networking')) {
      for (const [type, path] of findings(filter)) context.report(type, filter, path)
    }
  },
}

/** The relative operation is reported once an object, the wrong ones once a patch. */
function findings(filter: Entry): [MessageType, string][] {
  const found: [MessageType, string][] = []
  const hasPriority = filter.spec.priority !== undefined && filter.spec.priority !== 0
  let relativeReported = false
  let versionReported = false
  for (const [i, config] of list(filter.spec.configPatches).entries()) {
    const operation = text(record(config.patch).operation)
    const applyTo = text(config.applyTo)
    const path = `spec.configPatches[${i}].patch.operation`
    if (operation === 'ADD' && ROUTES.has(applyTo)) found.push([EnvoyFilterUsesAddOperationIncorrectly, path])
    else if (operation === 'REMOVE' && ROUTES.has(applyTo))
      found.push([EnvoyFilterUsesRemoveOperationIncorrectly, path])
    else if (operation === 'REPLACE' && !REPLACEABLE.has(applyTo))
      found.push([EnvoyFilterUsesReplaceOperationIncorrectly, path])
    else if (RELATIVE.has(operation) && !hasPriority) {
      if (!relativeReported) found.push([EnvoyFilterUsesRelativeOperation, path])
      relativeReported = true
      const version = text(record(record(config.match).proxy).proxyVersion)
      if (version && !versionReported) {
        found.push([EnvoyFilterUsesRelativeOperationWithProxyVersion, path])
        versionReported = true
      }
    }
  }
  return found
}
