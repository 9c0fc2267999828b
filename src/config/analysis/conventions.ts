// What `validate` asks of Kubernetes' own objects, as istioctl does.
import { isProtocolWord } from './analyzers/workloads.ts'
import type { AnalyzedObject } from './context.ts'
import { list, record, text } from './fields.ts'

export interface ConventionProblem {
  /** A warning does not make the object invalid. */
  readonly level: 'error' | 'warning'
  readonly path: string
  readonly message: string
}

const SERVICE_LABELS = ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app']
const REVISION_LABELS = ['service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version']

/** Ports of Services that tell no protocol, and Deployments whose pods have no name and version in metrics. */
export function conventionProblems(object: AnalyzedObject, istioNamespace: string): ConventionProblem[] {
  const { kind, apiVersion, metadata, spec } = object
  if (metadata.namespace === istioNamespace) return []
  if (kind === 'Service' && apiVersion === 'v1') return portProblems(record(spec).ports)
  return kind === 'Deployment' && apiVersion.startsWith('apps/') ? labelProblems(record(record(spec).template)) : []
}

function portProblems(ports: unknown): ConventionProblem[] {
  return list(ports).flatMap(({ protocol, appProtocol, name }, i): ConventionProblem[] => {
    const path = `spec.ports[${i}]`
    if (text(protocol).toUpperCase() === 'UDP') return []
    if (appProtocol !== undefined) {
      if (isProtocolWord(text(appProtocol))) return []
      const message = `"${text(appProtocol)}" is no protocol that Istio selects`
      return [{ level: 'error', path: `${path}.appProtocol`, message }]
    }
    if (name === undefined) return [{ level: 'error', path, message: 'an unnamed port tells no protocol' }]
    if (isProtocolWord(text(name).replace(/-.*$/s, ''))) return []
    const message = `"${text(name)}" does not follow the Istio naming convention: write PROTOCOL or PROTOCOL-NAME`
    return [{ level: 'error', path: `${path}.name`, message }]
  })
}

function labelProblems(template: Readonly<Record<string, unknown>>): ConventionProblem[] {
  const labels = record(record(template.metadata).labels)
  const missing = [SERVICE_LABELS, REVISION_LABELS].flatMap((names) =>
    names.some((name) => labels[name] !== undefined) ? [] : [names.at(-1)!],
  )
  if (missing.length === 0) return []
  const message = `without the label ${missing.join(' and ')} metrics do not tell the workload`
  return [{ level: 'warning', path: 'spec.template.metadata.labels', message }]
}
