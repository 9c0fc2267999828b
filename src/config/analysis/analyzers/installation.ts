// What an installation itself may have wrong: webhooks, CRDs, networks.

import { isIP } from 'node:net'
import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { list, record, text } from '../fields.ts'
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

/** Selectors as comparable text. */
function selectorKey(webhook: Record<string, unknown>): string {
  return JSON.stringify([webhook.namespaceSelector ?? null, webhook.objectSelector ?? null])
}

export const webhookAnalyzer: Analyzer = {
  name: 'webhook.Analyzer',
  description: 'Checks the validity of Istio webhooks',
  run(context) {
    const injectors = configurations(context, 'MutatingWebhookConfiguration').filter(
      (config) => config.name.startsWith('istio-sidecar-injector') || config.labels.app === 'sidecar-injector',
    )
    const users = new Map<string, { config: Entry; name: string }[]>()
    for (const config of injectors) {
      for (const [i, webhook] of list(config.item.object.webhooks).entries()) {
        const service = record(record(webhook.clientConfig).service)
        const key = selectorKey(webhook)
        users.set(key, [...(users.get(key) ?? []), { config, name: `${config.name}/${text(webhook.name)}` }])
        if (service.name === undefined) continue
        const known = context.all('Service').some((s) => s.name === service.name && s.namespace === service.namespace)
        if (!known) {
          const problem = `Injector refers to a control plane service that does not exist: ${text(service.name)}.${text(service.namespace)}.`
          context.report(InvalidWebhook, config, `webhooks[${i}].clientConfig.service`, problem)
        }
      }
    }
    for (const same of users.values()) {
      if (same.length < 2) continue
      for (const { config, name } of same) {
        const others = same.filter((other) => other.name !== name).map((other) => other.name)
        context.report(
          InvalidWebhook,
          config,
          'webhooks',
          `Webhook overlaps with others: ${others.join(',')}. This may cause injection to occur twice.`,
        )
      }
    }
  },
}

export const externalControlPlaneAnalyzer: Analyzer = {
  name: 'externalcontrolplane.ExternalControlPlaneAnalyzer',
  description: 'Checks that the remote Istio clusters have valid addresses of their external control plane',
  run(context) {
    const all = [
      ...configurations(context, 'ValidatingWebhookConfiguration'),
      ...configurations(context, 'MutatingWebhookConfiguration'),
    ].filter((config) => config.name.includes('external-istiod') || config.name === 'istiod-default-validator')
    for (const config of all) {
      for (const [i, webhook] of list(config.item.object.webhooks).entries()) {
        const path = `webhooks[${i}].clientConfig.url`
        const url = text(record(webhook.clientConfig).url)
        if (url === '') continue
        const name = text(webhook.name)
        const parsed = URL.canParse(url) ? new URL(url) : null
        if (!parsed || parsed.hostname === '') {
          context.report(InvalidExternalControlPlaneConfig, config, path, url, name, 'is an invalid URL')
        } else if (isIP(parsed.hostname.replace(/^\[|\]$/g, '')) !== 0) {
          context.report(ExternalControlPlaneAddressIsNotAHostname, config, path, url, name)
        }
      }
    }
  },
}

/** Gateway API bundle that Istio needs for a kind. */
const MINIMUM_VERSIONS: Readonly<Record<string, string>> = { 'tlsroutes.gateway.networking.k8s.io': '1.5.0' }
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
  name: 'multicluster.MeshNetworksAnalyzer',
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
