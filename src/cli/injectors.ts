// x check-inject: what each injecting webhook makes of a pod's and its namespace's labels, and why.

import { tabulate } from './tab-writer.ts'

type Labels = Readonly<Record<string, string>>

interface Requirement {
  readonly key: string
  readonly operator: string
  readonly values?: readonly string[]
}

export interface Selector {
  readonly matchLabels?: Labels
  readonly matchExpressions?: readonly Requirement[]
}

export interface InjectorWebhook {
  readonly name: string
  readonly namespaceSelector?: Selector
  readonly objectSelector?: Selector
}

/** A MutatingWebhookConfiguration of Istio's. */
export interface Injector {
  readonly name: string
  readonly revision: string
  readonly webhooks: readonly InjectorWebhook[]
}

export interface InjectorVerdict {
  readonly name: string
  readonly revision: string
  readonly injected: boolean
  readonly reason: string
}

const INJECTION = 'istio-injection'
const REVISION = 'istio.io/rev'
const INJECT = 'sidecar.istio.io/inject'

const expression = (key: string, operator: string, ...values: string[]): Requirement => ({
  key,
  operator,
  ...(values.length > 0 ? { values } : {}),
})

/** The injector of Istio's default installation: the rules that the platform of `up` follows. */
export const DEFAULT_INJECTOR: Injector = {
  name: 'istio-sidecar-injector',
  revision: 'default',
  webhooks: [
    {
      name: 'rev.namespace.sidecar-injector.istio.io',
      namespaceSelector: {
        matchExpressions: [expression(REVISION, 'In', 'default'), expression(INJECTION, 'DoesNotExist')],
      },
      objectSelector: { matchExpressions: [expression(INJECT, 'NotIn', 'false')] },
    },
    {
      name: 'rev.object.sidecar-injector.istio.io',
      namespaceSelector: {
        matchExpressions: [expression(REVISION, 'DoesNotExist'), expression(INJECTION, 'DoesNotExist')],
      },
      objectSelector: {
        matchExpressions: [expression(INJECT, 'NotIn', 'false'), expression(REVISION, 'In', 'default')],
      },
    },
    {
      name: 'namespace.sidecar-injector.istio.io',
      namespaceSelector: { matchExpressions: [expression(INJECTION, 'In', 'enabled')] },
      objectSelector: { matchExpressions: [expression(INJECT, 'NotIn', 'false')] },
    },
    {
      name: 'object.sidecar-injector.istio.io',
      namespaceSelector: {
        matchExpressions: [expression(INJECTION, 'DoesNotExist'), expression(REVISION, 'DoesNotExist')],
      },
      objectSelector: { matchExpressions: [expression(INJECT, 'In', 'true'), expression(REVISION, 'DoesNotExist')] },
    },
  ],
}

/** One verdict an injector, by name. */
export function judgeInjectors(injectors: readonly Injector[], pod: Labels, namespace: Labels): InjectorVerdict[] {
  return injectors
    .map(({ name, revision, webhooks }) => ({ name, revision, ...judge(webhooks, pod, namespace) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Istioctl's marks are coloured, and its columns count the colours. */
const INJECTED = 'INJECTED'.padEnd(12)

/** The verdicts as istioctl prints them, without its colours. */
export function injectorTable(verdicts: readonly InjectorVerdict[]): string {
  const rows = verdicts.map(({ name, revision, injected, reason }) => [name, revision, injected ? '✔' : '✘', reason])
  const table = tabulate([['WEBHOOK', 'REVISION', INJECTED, 'REASON'], ...rows], 2)
  const several = verdicts.filter(({ injected }) => injected).length > 1
  return several ? `${table}ERROR: multiple webhooks will inject, which can lead to errors\n` : table
}

function judge(
  webhooks: readonly InjectorWebhook[],
  pod: Labels,
  namespace: Labels,
): { injected: boolean; reason: string } {
  for (const { namespaceSelector, objectSelector } of webhooks) {
    const ofNamespace = matches(namespaceSelector, namespace)
    const ofPod = matches(objectSelector, pod)
    if (ofNamespace && ofPod) {
      const reason = matchedReason(decisive(namespaceSelector, namespace), decisive(objectSelector, pod))
      if (reason) return { injected: true, reason }
    } else if (ofNamespace) {
      const reason = preventing(objectSelector, pod)
      if (reason) return { injected: false, reason }
    } else if (ofPod && namespace[INJECTION] !== undefined && namespace[INJECTION] !== 'enabled') {
      return {
        injected: false,
        reason: `Namespace has ${INJECTION}=${namespace[INJECTION]} label, preventing injection`,
      }
    }
  }
  const wanted = (selectors: readonly (Selector | undefined)[]) =>
    selectors
      .flatMap((selector) => selector?.matchExpressions ?? [])
      .filter(({ operator }) => operator === 'In')
      .flatMap(({ key, values = [] }) => values.map((value) => `${key}=${value}`))
      .join(', ')
  const namespaces = wanted(webhooks.map(({ namespaceSelector }) => namespaceSelector))
  const pods = wanted(webhooks.map(({ objectSelector }) => objectSelector))
  return { injected: false, reason: `No matching namespace labels (${namespaces}) or pod labels (${pods})` }
}

function matchedReason(namespaceLabel: string, podLabel: string): string {
  if (namespaceLabel && podLabel) return `Namespace label ${namespaceLabel} matches, and pod label ${podLabel} matches`
  if (podLabel) return `Pod label ${podLabel} matches`
  if (!namespaceLabel) return ''
  const everywhere = namespaceLabel.includes('kubernetes.io/metadata.name')
  const remark = everywhere ? ' (Automatic injection is enabled in all namespaces).' : ''
  return `Namespace label ${namespaceLabel} matches${remark}`
}

/** The label that a condition asks about. */
function decisive(selector: Selector | undefined, labels: Labels): string {
  const found = selector?.matchExpressions?.find(
    ({ operator, key }) => (operator === 'In' || operator === 'NotIn') && labels[key] !== undefined,
  )
  return found ? `${found.key}=${labels[found.key]}` : ''
}

function preventing(selector: Selector | undefined, labels: Labels): string {
  const found = selector?.matchExpressions?.find(({ operator, key, values = [] }) => {
    const value = labels[key]
    if (value === undefined) return false
    return operator === 'DoesNotExist' || (operator === 'NotIn' && values.includes(value))
  })
  return found ? `Pod has ${found.key}=${labels[found.key]} label, preventing injection` : ''
}

/** A webhook without a selector takes everything. */
function matches(selector: Selector | undefined, labels: Labels): boolean {
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) if (labels[key] !== value) return false
  return (selector?.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key]
    if (operator === 'In') return value !== undefined && values.includes(value)
    if (operator === 'NotIn') return value === undefined || !values.includes(value)
    return (value !== undefined) === (operator === 'Exists')
  })
}
