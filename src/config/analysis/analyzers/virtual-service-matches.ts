// Rules of a VirtualService that earlier rules shadow.

import type { Analyzer } from '../context.ts'
import { VirtualServiceIneffectiveMatch, VirtualServiceUnreachableRule } from '../messages.ts'
import { shadowedRules } from '../shadowed-rules.ts'

export const matchesAnalyzer: Analyzer = {
  name: 'schema.ValidationAnalyzer.VirtualService',
  description: 'Finds virtual services with routing rules that can never be reached',
  run(context) {
    for (const vs of context.istio('VirtualService', 'networking')) {
      for (const found of shadowedRules(vs.spec)) {
        if ('reason' in found) context.report(VirtualServiceUnreachableRule, vs, found.path, found.rule, found.reason)
        else context.report(VirtualServiceIneffectiveMatch, vs, found.path, found.rule, found.match, found.by)
      }
    }
  },
}
