// Webhook configurations, labels of a namespace and labels of a pod: every combination.
import { DEFAULT_INJECTOR, type Injector } from '../../../src/cli/injectors.ts'

export interface Case {
  readonly id: string
  readonly injectors: readonly Injector[]
  readonly namespace: Readonly<Record<string, string>>
  /** `key=value`, several joined by commas, as `-l` takes them. */
  readonly pod: string
}

/** Case → what istioctl printed, without its colours. */
export type Recorded = Readonly<Record<string, string>>
export const RECORDED: URL = new URL('recorded.json.golden', import.meta.url)

const CANARY: Injector = {
  name: 'istio-sidecar-injector-canary',
  revision: 'canary',
  webhooks: (
    JSON.parse(JSON.stringify(DEFAULT_INJECTOR.webhooks).replaceAll('"default"', '"canary"')) as Injector['webhooks']
  ).slice(0, 2),
}
/** As `values.sidecarInjectorWebhook.enableNamespacesByDefault` makes it. */
const EVERYWHERE: Injector = {
  name: 'auto-istio',
  revision: 'auto',
  webhooks: [
    {
      name: 'auto.sidecar-injector.istio.io',
      namespaceSelector: {
        matchExpressions: [
          { key: 'istio-injection', operator: 'DoesNotExist' },
          { key: 'istio.io/rev', operator: 'DoesNotExist' },
          { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['kube-system'] },
        ],
      },
      objectSelector: {
        matchExpressions: [
          { key: 'sidecar.istio.io/inject', operator: 'DoesNotExist' },
          { key: 'istio.io/rev', operator: 'DoesNotExist' },
        ],
      },
    },
  ],
}
const UNSELECTIVE: Injector = { ...DEFAULT_INJECTOR, webhooks: [{ name: 'x.istio.io' }] }

const INJECTORS: Readonly<Record<string, readonly Injector[]>> = {
  default: [DEFAULT_INJECTOR],
  'default and canary': [DEFAULT_INJECTOR, CANARY],
  canary: [CANARY],
  'default and everywhere': [DEFAULT_INJECTOR, EVERYWHERE],
  unselective: [UNSELECTIVE],
}
const NAMESPACES: readonly Readonly<Record<string, string>>[] = [
  {},
  { 'istio-injection': 'enabled' },
  { 'istio-injection': 'disabled' },
  { 'istio.io/rev': 'canary' },
  { 'istio.io/rev': 'default', 'istio-injection': 'enabled' },
]
const PODS = [
  'app=x',
  'sidecar.istio.io/inject=false',
  'sidecar.istio.io/inject=true',
  'istio.io/rev=canary',
  'istio.io/rev=canary,sidecar.istio.io/inject=true',
  'istio.io/rev=default,sidecar.istio.io/inject=false',
]

export const CASES: readonly Case[] = Object.entries(INJECTORS).flatMap(([name, injectors]) =>
  NAMESPACES.flatMap((labels) =>
    PODS.map((pod) => ({
      id: `${name}; ${JSON.stringify(labels)}; ${pod}`,
      injectors,
      namespace: { 'kubernetes.io/metadata.name': 'shop', ...labels },
      pod,
    })),
  ),
)
