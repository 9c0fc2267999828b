// MeshConfig.serviceEntryVisibility: how far ServiceEntries of a namespace are seen, whatever they ask for themselves.
import type { ServiceEntryVisibility } from '../../config/index.ts'
import type { ExportTo } from '../model/service.ts'
import { selectorMatches } from './namespace-filter.ts'

type Visibility = NonNullable<ServiceEntryVisibility['defaultVisibility']>

/** The first policy whose rules all match the namespace's labels decides; a rule without a matcher matches nothing. */
export function visibilityIn(
  { policies = [], defaultVisibility = 'PUBLIC' }: ServiceEntryVisibility,
  namespaceLabels: Readonly<Record<string, string>>,
): Visibility {
  const policy = policies.find(({ matchingRules = [] }) =>
    matchingRules.every((rule) => rule.namespaceSelector && selectorMatches(rule.namespaceSelector, namespaceLabels)),
  )
  return policy ? (policy.visibility ?? 'PUBLIC') : defaultVisibility
}

/** An exportTo narrowed to a visibility; it is never widened. */
export function cappedExportTo(exportTo: ExportTo, namespace: string, visibility: Visibility): ExportTo {
  if (exportTo === 'none' || visibility === 'NONE') return 'none'
  if (visibility !== 'NAMESPACE') return exportTo
  return exportTo === 'all' || exportTo.has(namespace) ? new Set([namespace]) : 'none'
}
