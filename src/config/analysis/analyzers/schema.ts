// What istiod's validation says of each Istio resource, and deprecated fields.

import { ISTIO_KINDS } from '../../kinds.ts'
import { isIstioApiVersion, parseResource } from '../../parse.ts'
import type { Analyzer } from '../context.ts'
import { list, record } from '../fields.ts'
import { Deprecated, SchemaValidationError, SchemaWarning } from '../messages.ts'
import { isShadowText } from '../shadowed-rules.ts'

const SCHEMA = 'schema.ValidationAnalyzer'

/** One for each kind, and one for objects of Istio's groups that are of no kind it has. */
export const schemaAnalyzers: readonly Analyzer[] = [
  ...ISTIO_KINDS.map((kind) => schemaAnalyzer(`${SCHEMA}.${kind}`, `'${kind}' resources`, (one) => one === kind)),
  schemaAnalyzer(SCHEMA, 'other resources of Istio', (kind) => !(ISTIO_KINDS as readonly string[]).includes(kind)),
]

function schemaAnalyzer(name: string, what: string, includes: (kind: string) => boolean): Analyzer {
  return {
    name,
    description: `Runs schema validation as an analyzer on ${what}`,
    run(context) {
      for (const entry of context.everything()) {
        if (!isIstioApiVersion(entry.item.object.apiVersion) || !includes(entry.item.object.kind)) continue
        const result = parseResource(entry.item.object)
        for (const problem of result.ok ? result.value.warnings : result.problems) {
          if (isShadowText(problem.message)) continue
          context.reportProblem(problem.level === 'error' ? SchemaValidationError : SchemaWarning, entry, problem)
        }
      }
    },
  }
}

export const deprecationAnalyzer: Analyzer = {
  name: 'deprecation.DeprecationAnalyzer',
  description: 'Checks for deprecated Istio types and fields',
  run(context) {
    for (const vs of context.istio('VirtualService', 'networking')) {
      for (const [i, route] of list(vs.spec.http).entries()) {
        const replacement =
          'HTTPFaultInjection.Delay.percent is deprecated; use HTTPFaultInjection.Delay.percentage instead'
        if (record(record(route.fault).delay).percent !== undefined)
          context.report(Deprecated, vs, `spec.http[${i}].fault.delay.percent`, replacement)
      }
    }
    for (const sidecar of context.istio('Sidecar', 'networking')) {
      if (record(sidecar.spec.outboundTrafficPolicy).egressProxy !== undefined) {
        context.report(
          Deprecated,
          sidecar,
          'spec.outboundTrafficPolicy.egressProxy',
          'OutboundTrafficPolicy.EgressProxy ignored',
        )
      }
    }
  },
}
