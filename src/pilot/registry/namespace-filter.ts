// discoverySelectors: the namespaces whose objects the control plane looks at.
import type { LabelSelector } from '../../config/index.ts'

type Labels = Readonly<Record<string, string>>

const NAME_LABEL = 'kubernetes.io/metadata.name'

/** Knows which namespaces are selected; without selectors all are. */
export class NamespaceFilter {
  private readonly selectors: readonly LabelSelector[]
  private readonly labels = new Map<string, Labels>()

  constructor(selectors: readonly LabelSelector[]) {
    this.selectors = selectors
  }

  /** The same namespaces under other selectors. */
  with(selectors: readonly LabelSelector[]): NamespaceFilter {
    const next = new NamespaceFilter(selectors)
    for (const [name, labels] of this.labels) next.labels.set(name, labels)
    return next
  }

  selected(namespace: string): boolean {
    if (this.selectors.length === 0) return true
    // Every namespace of a cluster has its name as a label, whatever a file says of it.
    const labels = { [NAME_LABEL]: namespace, ...this.labels.get(namespace) }
    return this.selectors.some((selector) => selectorMatches(selector, labels))
  }

  /** A namespace's labels, or its end (null). True when that changed whether it is selected. */
  set(namespace: string, labels: Labels | null): boolean {
    const before = this.selected(namespace)
    if (labels) this.labels.set(namespace, labels)
    else this.labels.delete(namespace)
    return this.selected(namespace) !== before
  }
}

/** Kubernetes' label selector: every matchLabels pair and every expression holds. */
export function selectorMatches(selector: LabelSelector, labels: Labels): boolean {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) if (labels[key] !== value) return false
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key]
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value)
      case 'NotIn':
        return value === undefined || !values.includes(value)
      case 'Exists':
        return value !== undefined
      default:
        return value === undefined
    }
  })
}
