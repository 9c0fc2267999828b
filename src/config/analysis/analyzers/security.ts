// AuthorizationPolicies and policies that select a Gateway API gateway by labels.

import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { list, record, selectorText, selects, strings, text } from '../fields.ts'
import {
  IneffectiveSelector,
  JwksUriFetchUnrestricted,
  NoMatchingWorkloadsFound,
  ReferencedResourceNotFound,
} from '../messages.ts'

export const authorizationAnalyzer: Analyzer = {
  name: 'auth.AuthorizationPoliciesAnalyzer',
  description: 'Checks the validity of authorization policies',
  run(context) {
    const namespaces = new Set(context.all('Namespace').map((namespace) => namespace.name))
    const pods = context.all('Pod').filter((pod) => isInMesh(context, pod))
    for (const policy of context.istio('AuthorizationPolicy', 'security')) {
      const selector = policy.spec.selector === undefined ? null : record(policy.spec.selector).matchLabels
      const meshWide = policy.namespace === context.options.rootNamespace
      const own = pods.filter(
        (pod) => (meshWide || pod.namespace === policy.namespace) && selects(selector, pod.labels),
      )
      if (own.length === 0 && (selector !== null || !meshWide)) {
        context.report(NoMatchingWorkloadsFound, policy, 'spec.selector.matchLabels', selectorText(selector))
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

const INJECT = 'sidecar.istio.io/inject'

/** Whether a pod has a proxy, or is to be given one by itself or its namespace. */
function isInMesh(context: AnalysisContext, pod: Entry): boolean {
  if (pod.annotations['ambient.istio.io/redirection'] === 'enabled') return true
  const containers = [...list(pod.spec.containers), ...list(pod.spec.initContainers)]
  if (containers.some((container) => container.name === 'istio-proxy')) return true
  const inject = pod.labels[INJECT] ?? pod.annotations[INJECT]
  if (inject !== undefined) return inject === 'true'
  const namespace = context.all('Namespace').find(({ name }) => name === pod.namespace)
  return namespace?.labels['istio-injection'] === 'enabled'
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
const SHOWN_NAMES = 5

export const blockedCidrsAnalyzer: Analyzer = {
  name: 'authn.BlockedCIDRsAnalyzer',
  description: 'Checks that istiod restricts JWKS fetches when RequestAuthentications make it fetch',
  run(context) {
    const names = context.istio('RequestAuthentication', 'security').map((policy) => policy.fullName)
    if (names.length === 0) return
    const more = names.length > SHOWN_NAMES ? `, and ${names.length - SHOWN_NAMES} more` : ''
    for (const deployment of context.all('Deployment.apps')) {
      if (deployment.labels.app !== 'istiod') continue
      const containers = list(record(record(deployment.spec.template).spec).containers)
      const restricted = containers.some((container) =>
        list(container.env).some((variable) => variable.name === BLOCKED_CIDRS && text(variable.value) !== ''),
      )
      if (restricted) continue
      const shown = names.slice(0, SHOWN_NAMES).join(', ')
      context.report(JwksUriFetchUnrestricted, deployment, 'spec.template', names.length, `${shown}${more}`)
    }
  },
}
