// DestinationRules: TLS without verification, subsets without pods, unknown hosts.

import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { fqdn, hostMatches, list, record, selects, text } from '../fields.ts'
import {
  DestinationRuleSubsetNotSelectPods,
  NoServerCertificateVerificationDestinationLevel,
  NoServerCertificateVerificationPortLevel,
  UnknownDestinationRuleHost,
} from '../messages.ts'
import { knownHosts } from '../services.ts'

function rules(context: AnalysisContext): readonly Entry[] {
  return context.istio('DestinationRule', 'networking')
}

/** SIMPLE and MUTUAL without a CA accept any server certificate; a workloadSelector's credentialName may bring the CA. */
function unverified(tls: unknown, rule: Entry): string | null {
  const { mode, caCertificates, credentialName, insecureSkipVerify } = record(tls)
  if (mode !== 'SIMPLE' && mode !== 'MUTUAL') return null
  if (text(caCertificates) || insecureSkipVerify === true) return null
  if (text(credentialName) && rule.spec.workloadSelector !== undefined) return null
  return mode
}

export const caCertificateAnalyzer: Analyzer = {
  name: 'destinationrule.CaCertificateAnalyzer',
  description: 'Checks if caCertificates is set when TLS mode is SIMPLE/MUTUAL',
  run(context) {
    for (const rule of rules(context)) {
      const policy = record(rule.spec.trafficPolicy)
      const mode = unverified(policy.tls, rule)
      const host = text(rule.spec.host)
      if (mode) {
        context.report(
          NoServerCertificateVerificationDestinationLevel,
          rule,
          'spec.trafficPolicy.tls.mode',
          rule.name,
          rule.namespace,
          mode,
          host,
        )
      }
      for (const [i, settings] of list(policy.portLevelSettings).entries()) {
        const portMode = unverified(settings.tls, rule)
        if (!portMode) continue
        const port = String(record(settings.port).number)
        context.report(
          NoServerCertificateVerificationPortLevel,
          rule,
          `spec.trafficPolicy.portLevelSettings[${i}].tls.mode`,
          rule.name,
          rule.namespace,
          portMode,
          host,
          port,
        )
      }
    }
  },
}

/** Subsets and hosts can be judged only where the pods and services are part of the analysed set. */
export const podNotSelectedAnalyzer: Analyzer = {
  name: 'destinationrule.PodNotSelectedAnalyzer',
  description: 'Checks that each subset selects a pod and the host is known',
  run(context) {
    const hosts = knownHosts(context)
    for (const rule of rules(context)) {
      const host = fqdn(text(rule.spec.host), rule.namespace)
      const service = hosts.find((known) => hostMatches(host, known.host))
      if (!service) {
        if (context.all('Service').length > 0)
          context.report(UnknownDestinationRuleHost, rule, 'spec.host', text(rule.spec.host))
        continue
      }
      if (service.entry.item.object.kind !== 'Service') continue
      const pods = workloads(context).filter(
        (pod) => pod.namespace === service.namespace && selects(service.entry.spec.selector, pod.labels),
      )
      if (pods.length === 0) continue
      for (const [i, subset] of list(rule.spec.subsets).entries()) {
        if (!pods.some((pod) => selects(subset.labels, pod.labels))) {
          context.report(DestinationRuleSubsetNotSelectPods, rule, `spec.subsets[${i}]`, text(subset.name))
        }
      }
    }
  },
}

/** Labels of pods and of what will become pods. */
function workloads(context: AnalysisContext): { namespace: string; labels: Readonly<Record<string, string>> }[] {
  const templates = context.all('Deployment.apps').map((deployment) => ({
    namespace: deployment.namespace,
    labels: record(record(record(deployment.spec.template).metadata).labels) as Record<string, string>,
  }))
  return [...context.all('Pod'), ...templates]
}
