// What an installation itself may have wrong: webhooks, CRDs, networks.

import { isIP } from 'node:net'
import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { type Fields, list, record, selects, strings, text } from '../fields.ts'
import {
  ExternalControlPlaneAddressIsNotAHostname,
  GatewayAPICRDVersionBelowMinimum,
  InvalidExternalControlPlaneConfig,
  InvalidWebhook,
  UnknownMeshNetworksServiceRegistry,
} from '../messages.ts'

const WEBHOOKS = 'admissionregistration.k8s.io'

function configurations(
  context: AnalysisContext,
  kind: 'MutatingWebhookConfiguration' | 'ValidatingWebhookConfiguration',
): readonly Entry[] {
  return context.all(`${kind}.${WEBHOOKS}`)
}

const REVISION = 'istio.io/rev'
/** Labels of a namespace and of a pod that decide about injection. */
const SUBJECTS = ['istio-injection', 'sidecar.istio.io/inject'] as const

interface Webhook {
  readonly config: Entry
  readonly fields: Fields
  /** `configuration/webhook`. */
  readonly name: string
}

export const webhookAnalyzer: Analyzer = {
  name: 'webhook.Analyzer',
  description: 'Checks the validity of Istio webhooks',
  run(context) {
    const revisions = new Set<string>()
    const webhooks: Webhook[] = []
    for (const config of configurations(context, 'MutatingWebhookConfiguration')) {
      const all = list(config.item.object.webhooks)
      const own = revisionsOf(config, all)
      if (own.length === 0 && !all.some(({ name }) => text(name).endsWith('istio.io'))) continue
      for (const revision of own) revisions.add(revision)
      for (const fields of all) webhooks.push({ config, fields, name: `${config.name}/${text(fields.name)}` })
    }
    const [namespaces, pods] = SUBJECTS.map((key) => labelSets(key, revisions)) as [LabelSet[], LabelSet[]]
    for (const namespace of namespaces) {
      for (const pod of pods) reportOverlap(context, webhooks, namespace, pod)
    }
    for (const { config, fields } of webhooks) {
      const { service } = record(fields.clientConfig)
      if (service === undefined) continue
      const { name, namespace } = record(service)
      if (context.all('Service').some((s) => s.name === name && s.namespace === namespace)) continue
      const index = list(config.item.object.webhooks).indexOf(fields)
      const problem = `Injector refers to a control plane service that does not exist: ${text(namespace)}/${text(name)}.`
      context.report(InvalidWebhook, config, `webhooks[${index}].clientConfig.service`, problem)
    }
  },
}

type LabelSet = Readonly<Record<string, string>>

/** Every way in which a namespace or a pod may be labelled for injection. */
function labelSets(key: string, revisions: ReadonlySet<string>): LabelSet[] {
  const words = key === 'istio-injection' ? ['enabled', 'disabled'] : ['true', 'false']
  const plain: LabelSet[] = [{}, ...words.map((word) => ({ [key]: word }))]
  return [...plain, ...[...revisions].flatMap((revision) => plain.map((set) => ({ ...set, [REVISION]: revision })))]
}

/** A pod that two webhooks take would be injected twice. */
function reportOverlap(
  context: AnalysisContext,
  webhooks: readonly Webhook[],
  namespace: LabelSet,
  pod: LabelSet,
): void {
  const taking = webhooks.filter(
    ({ fields }) => selectorTakes(fields.namespaceSelector, namespace) && selectorTakes(fields.objectSelector, pod),
  )
  const names = [...new Set(taking.map(({ name }) => name))].sort()
  if (names.length < 2) return
  for (const name of names) {
    const { config } = taking.findLast((webhook) => webhook.name === name)!
    const others = names.filter((other) => other !== name).join(' ')
    const problem = `Webhook overlaps with others: [${others}]. This may cause injection to occur twice.`
    context.report(InvalidWebhook, config, 'webhooks', problem)
  }
}

/** Revisions that a configuration is about, by its label and its selectors. */
function revisionsOf(config: Entry, webhooks: readonly Fields[]): string[] {
  const found = new Set<string>()
  if (config.labels[REVISION] !== undefined) found.add(config.labels[REVISION])
  for (const webhook of webhooks) {
    for (const selector of [record(webhook.namespaceSelector), record(webhook.objectSelector)]) {
      const revision = record(selector.matchLabels)[REVISION]
      if (typeof revision === 'string') found.add(revision)
      for (const { key, values } of list(selector.matchExpressions)) {
        if (key === REVISION) for (const value of strings(values)) found.add(value)
      }
    }
  }
  return [...found]
}

/** Kubernetes' LabelSelector; none takes everything. */
function selectorTakes(selector: unknown, labels: LabelSet): boolean {
  if (selector === undefined || selector === null) return true
  const { matchLabels, matchExpressions } = record(selector)
  return (
    selects(matchLabels, labels) &&
    list(matchExpressions).every(({ key, operator, values }) => {
      const value = labels[text(key)]
      if (operator === 'Exists') return value !== undefined
      if (operator === 'DoesNotExist') return value === undefined
      const listed = value !== undefined && strings(values).includes(value)
      return operator === 'In' ? listed : operator === 'NotIn' ? !listed : false
    })
  )
}

export const externalControlPlaneAnalyzer: Analyzer = {
  name: 'externalcontrolplane.ExternalControlPlaneAnalyzer',
  description: 'Checks that the remote Istio clusters have valid addresses of their external control plane',
  run(context) {
    const all = [
      ...configurations(context, 'ValidatingWebhookConfiguration').filter(
        ({ name }) => name.startsWith('istio-validator') || name === 'istiod-default-validator',
      ),
      ...configurations(context, 'MutatingWebhookConfiguration').filter(({ name }) =>
        name.startsWith('istio-sidecar-injector'),
      ),
    ]
    for (const config of all) {
      for (const [i, webhook] of list(config.item.object.webhooks).entries()) {
        const path = `webhooks[${i}].clientConfig.url`
        const { url, service } = record(webhook.clientConfig)
        const name = text(webhook.name)
        if (typeof url !== 'string') {
          if (service === undefined)
            context.report(InvalidExternalControlPlaneConfig, config, path, '', name, 'is blank')
          continue
        }
        const parsed = URL.canParse(url) ? new URL(url) : null
        if (!parsed) {
          const problem = 'was provided in an invalid format'
          context.report(InvalidExternalControlPlaneConfig, config, path, url, name, problem)
        } else if (isIP(parsed.hostname.replace(/^\[|\]$/g, '')) !== 0) {
          context.report(ExternalControlPlaneAddressIsNotAHostname, config, path, url, name)
        }
      }
    }
  },
}

/** Gateway API bundle that Istio needs for a kind. */
const MINIMUM_VERSIONS: Readonly<Record<string, string>> = {
  'grpcroutes.gateway.networking.k8s.io': '1.1.0',
  'backendtlspolicies.gateway.networking.k8s.io': '1.4.0',
  'tlsroutes.gateway.networking.k8s.io': '1.5.0',
  'tcproutes.gateway.networking.k8s.io': '1.6.0',
}
const BUNDLE_VERSION = 'gateway.networking.k8s.io/bundle-version'

export const crdVersionAnalyzer: Analyzer = {
  name: 'k8sgateway.CRDVersionAnalyzer',
  description: 'Checks that Gateway API CRDs have the version that Istio needs',
  run(context) {
    for (const crd of context.all('CustomResourceDefinition.apiextensions.k8s.io')) {
      const minimum = MINIMUM_VERSIONS[crd.name]
      const installed = crd.annotations[BUNDLE_VERSION]?.replace(/^v/, '')
      if (!minimum || !installed || !isBelow(installed, minimum)) continue
      context.report(GatewayAPICRDVersionBelowMinimum, crd, 'metadata.annotations', crd.name, installed, minimum)
    }
  },
}

function isBelow(version: string, minimum: string): boolean {
  const [a, b] = [version, minimum].map((v) => v.split(/[.-]/).map((part) => Number.parseInt(part, 10) || 0))
  for (let i = 0; i < 3; i++) if ((a![i] ?? 0) !== (b![i] ?? 0)) return (a![i] ?? 0) < (b![i] ?? 0)
  return false
}

/** The cluster that pilot runs in. */
const LOCAL_REGISTRY = 'Kubernetes'

export const meshNetworksAnalyzer: Analyzer = {
  name: 'meshnetworks.MeshNetworksAnalyzer',
  description: 'Checks the validity of MeshNetworks in the cluster',
  run(context) {
    const clusters = new Set([LOCAL_REGISTRY])
    for (const secret of context.all('Secret')) {
      if (secret.labels['istio/multiCluster'] !== 'true') continue
      for (const field of ['data', 'stringData']) {
        for (const cluster of Object.keys(record(secret.item.object[field]))) clusters.add(cluster)
      }
    }
    for (const networks of context.all('MeshNetworks')) {
      for (const [name, network] of Object.entries(record(networks.item.object.networks))) {
        for (const [i, endpoint] of list(record(network).endpoints).entries()) {
          const registry = text(endpoint.fromRegistry)
          if (registry === '' || clusters.has(registry)) continue
          context.report(
            UnknownMeshNetworksServiceRegistry,
            networks,
            `networks.${name}.endpoints[${i}].fromRegistry`,
            registry,
            name,
          )
        }
      }
    }
  },
}
