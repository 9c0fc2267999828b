// AuthorizationPolicies and policies that select a Gateway API gateway by labels.

import type { Analyzer } from '../context.ts'
import { list, record, selectorText, selects, strings } from '../fields.ts'
import {
  IneffectiveSelector,
  JwksUriFetchUnrestricted,
  NoMatchingWorkloadsFound,
  ReferencedResourceNotFound,
} from '../messages.ts'

export const authorizationAnalyzer: Analyzer = {
  name: 'authz.AuthorizationPoliciesAnalyzer',
  description: 'Checks the validity of authorization policies',
  run(context) {
    const namespaces = new Set(context.all('Namespace').map((namespace) => namespace.name))
    for (const policy of context.istio('AuthorizationPolicy', 'security')) {
      const labels = record(policy.spec.selector).matchLabels
      const meshWide = policy.namespace === context.options.rootNamespace
      const pods = context
        .all('Pod')
        .filter((pod) => (meshWide || pod.namespace === policy.namespace) && selects(labels, pod.labels))
      if (pods.length === 0 && policy.spec.targetRef === undefined && policy.spec.targetRefs === undefined) {
        context.report(NoMatchingWorkloadsFound, policy, 'spec.selector.matchLabels', selectorText(labels))
      }
      for (const [i, rule] of list(policy.spec.rules).entries()) {
        for (const [j, from] of list(rule.from).entries()) {
          const source = record(from.source)
          for (const [field, names] of [
            ['namespaces', strings(source.namespaces)],
            ['notNamespaces', strings(source.notNamespaces)],
          ] as const) {
            for (const [k, name] of names.entries()) {
              if (known(namespaces, name)) continue
              context.report(
                ReferencedResourceNotFound,
                policy,
                `spec.rules[${i}].from[${j}].source.${field}[${k}]`,
                'namespace',
                name,
              )
            }
          }
        }
      }
    }
  },
}

/** Names may have `*` at either end. */
function known(namespaces: ReadonlySet<string>, pattern: string): boolean {
  if (pattern === '*') return true
  if (pattern.startsWith('*')) return [...namespaces].some((name) => name.endsWith(pattern.slice(1)))
  if (pattern.endsWith('*')) return [...namespaces].some((name) => name.startsWith(pattern.slice(0, -1)))
  return namespaces.has(pattern)
}

const GATEWAY_LABEL = 'gateway.networking.k8s.io/gateway-name'
const POLICIES = [
  ['AuthorizationPolicy', 'security'],
  ['RequestAuthentication', 'security'],
  ['Telemetry', 'telemetry'],
  ['WasmPlugin', 'extensions'],
] as const

export const gatewaySelectorAnalyzer: Analyzer = {
  name: 'k8sgateway.SelectorAnalyzer',
  description: 'Checks that selectors are effective for Kubernetes gateway',
  run(context) {
    for (const [kind, group] of POLICIES) {
      for (const policy of context.istio(kind, group)) {
        const labels = record(record(policy.spec.selector).matchLabels)
        if (Object.keys(labels).length === 0) continue
        if (policy.spec.targetRef !== undefined || policy.spec.targetRefs !== undefined) continue
        const pod = context
          .all('Pod')
          .find(
            (candidate) =>
              candidate.namespace === policy.namespace &&
              candidate.labels[GATEWAY_LABEL] !== undefined &&
              selects(labels, candidate.labels),
          )
        if (pod) context.report(IneffectiveSelector, policy, 'spec.selector.matchLabels', pod.labels[GATEWAY_LABEL])
      }
    }
  },
}

/** Environment variable of istiod that restricts where JWKS are fetched from. */
const BLOCKED_CIDRS = 'BLOCKED_CIDRS_IN_JWKS_URIS'

export const blockedCidrsAnalyzer: Analyzer = {
  name: 'authn.BlockedCIDRsAnalyzer',
  description: 'Checks that istiod restricts JWKS fetches when RequestAuthentications make it fetch',
  run(context) {
    const istiod = context
      .all('Deployment.apps')
      .find((entry) => entry.namespace === context.options.istioNamespace && entry.labels.app === 'istiod')
    if (!istiod) return // nothing to judge without the control plane in the set
    const containers = list(record(record(istiod.spec.template).spec).containers)
    const restricted = containers.some((container) =>
      list(container.env).some((variable) => variable.name === BLOCKED_CIDRS && variable.value !== ''),
    )
    const policies = context
      .istio('RequestAuthentication', 'security')
      .filter((policy) => list(policy.spec.jwtRules).some((rule) => rule.jwksUri !== undefined))
    if (restricted || policies.length === 0) return
    context.report(
      JwksUriFetchUnrestricted,
      policies[0]!,
      'spec.jwtRules',
      policies.length,
      policies.map((policy) => policy.key).join(', '),
    )
  },
}
