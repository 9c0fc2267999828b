// Annotations: unknown, misplaced, wrong, deprecated, or not yet mature.

import {
  ANNOTATIONS,
  type AnnotationRule,
  DEPRECATED_ANNOTATIONS,
  isIstioAnnotation,
  isPlatformAnnotation,
} from '../annotation-table.ts'
import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { list } from '../fields.ts'
import {
  AlphaAnnotation,
  DeprecatedAnnotation,
  InvalidAnnotation,
  MisplacedAnnotation,
  UnknownAnnotation,
} from '../messages.ts'

const KINDS = ['Namespace', 'Service', 'Pod', 'Deployment.apps']

/** Annotations somebody wrote, with their rule (undefined = unknown to Istio). */
function* written(
  context: AnalysisContext,
): Generator<[entry: Entry, name: string, value: string, kind: string, rule: AnnotationRule | undefined]> {
  for (const entry of KINDS.flatMap((kind) => context.all(kind))) {
    const cni = list(entry.spec.initContainers).some((container) => container.name === 'istio-validation')
    const kind = entry.item.object.kind
    for (const [name, value] of Object.entries(entry.annotations)) {
      if (!isIstioAnnotation(name) || isPlatformAnnotation(name, cni)) continue
      yield [entry, name, value, kind, ANNOTATIONS.get(name)]
    }
  }
}

const INJECT = 'sidecar.istio.io/inject'

function pathOf(name: string): string {
  return `metadata.annotations[${JSON.stringify(name)}]`
}

export const annotationAnalyzer: Analyzer = {
  name: 'annotations.K8sAnalyzer',
  description: 'Checks for misplaced and invalid Istio annotations in Kubernetes resources',
  run(context) {
    for (const [entry, name, value, kind, rule] of written(context)) {
      if (!rule) {
        context.report(UnknownAnnotation, entry, pathOf(name), name)
        continue
      }
      // Who has the label beside it keeps the annotation for older versions.
      const replaced = name === INJECT && entry.labels[INJECT] !== undefined
      if (DEPRECATED_ANNOTATIONS.has(name) && !replaced) {
        const instead = name === INJECT ? ` in favor of the "${INJECT}" label` : ''
        context.report(DeprecatedAnnotation, entry, pathOf(name), name, instead)
      }
      if (!rule.kinds.includes('Any') && !rule.kinds.includes(kind)) {
        context.report(MisplacedAnnotation, entry, pathOf(name), name, rule.kinds.join(', '))
        continue
      }
      const problem = rule.check(value)
      if (problem) context.report(InvalidAnnotation, entry, pathOf(name), name, problem)
    }
  },
}

export const alphaAnnotationAnalyzer: Analyzer = {
  name: 'annotations.AlphaAnalyzer',
  description: 'Checks for alpha Istio annotations in Kubernetes resources',
  run(context) {
    for (const [entry, name, , , rule] of written(context)) {
      if (rule?.maturity === 'alpha') context.report(AlphaAnnotation, entry, pathOf(name), name)
    }
  },
}
