// DestinationRules: TLS without verification, subsets without pods, unknown hosts.

import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { list, record, selects, text } from '../fields.ts'
import {
  DestinationRuleSubsetNotSelectPods,
  NoServerCertificateVerificationDestinationLevel,
  NoServerCertificateVerificationPortLevel,
  UnknownDestinationRuleHost,
} from '../messages.ts'
import { findHost, knownHosts, viewers } from '../services.ts'

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
          rule.fullName,
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
          rule.fullName,
          rule.namespace,
          portMode,
          host,
          `number:${port}`,
        )
      }
    }
  },
}

export const podNotSelectedAnalyzer: Analyzer = {
  name: 'destinationrule.SubsetSelectPodAnalyzer',
  description: 'Checks that each subset selects a pod and the host is known',
  run(context) {
    const hosts = knownHosts(context)
    const pods = workloads(context)
    // Of files without pods nobody can say what subsets will select.
    const judged = pods.some(({ namespace }) => namespace !== context.options.istioNamespace)
    for (const rule of rules(context)) {
      const service = findHost(hosts, text(rule.spec.host), rule.namespace, viewers(rule))
      if (!service) {
        context.report(UnknownDestinationRuleHost, rule, 'spec.host', text(rule.spec.host))
        continue
      }
      if (!judged) continue
      const base =
        service.entry.item.object.kind === 'Service' ? {} : record(service.entry.spec.workloadSelector).labels
      for (const [i, subset] of list(rule.spec.subsets).entries()) {
        const wanted = { ...record(base), ...record(subset.labels) }
        if (!pods.some((pod) => selects(wanted, pod.labels))) {
          context.report(DestinationRuleSubsetNotSelectPods, rule, `spec.subsets[${i}]`, text(subset.name))
        }
      }
    }
  },
}

const REGION = 'topology.kubernetes.io/region'
const ZONE = 'topology.kubernetes.io/zone'
const SUBZONE = 'topology.istio.io/subzone'

interface Workload {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
}

/** Labels of pods, with those of their place, and of what will become pods. */
function workloads(context: AnalysisContext): readonly Workload[] {
  const nodes = new Map(context.all('Node').map((node) => [node.name, node.labels]))
  const pods = context.all('Pod').map((pod) => {
    const nodeName = text(pod.spec.nodeName)
    const node = nodes.get(nodeName) ?? {}
    const place = [REGION, ZONE, SUBZONE].flatMap((name) => (node[name] === undefined ? [] : [[name, node[name]]]))
    const host = nodeName === '' ? {} : { 'kubernetes.io/hostname': nodeName }
    return { namespace: pod.namespace, labels: { ...pod.labels, ...Object.fromEntries(place), ...host } }
  })
  const templates = context.all('Deployment.apps').map((deployment) => ({
    namespace: deployment.namespace,
    labels: record(record(record(deployment.spec.template).metadata).labels) as Record<string, string>,
  }))
  return [...pods, ...templates]
}
