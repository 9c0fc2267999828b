// The proxy's image in running pods against the one that the injector would give them now.

import { parse } from 'yaml'
import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { list, record, selects, text } from '../fields.ts'
import { PodsIstioProxyImageMismatchInNamespace } from '../messages.ts'

const INJECTOR = 'istio-sidecar-injector'
const PROXY_CONTAINER = 'istio-proxy'

/** The values of an injector's ConfigMap; empty when they cannot be read. */
export function injectorValues(context: AnalysisContext, revision: string | undefined): Record<string, unknown> {
  const name = !revision || revision === 'default' ? INJECTOR : `${INJECTOR}-${revision}`
  const map = context.all('ConfigMap').find((entry) => entry.name === name)
  return record(parsed(text(record(map?.item.object.data).values)))
}

/** JSON is YAML; null when it is neither. */
function parsed(document: string): unknown {
  try {
    return parse(document)
  } catch {
    return null
  }
}

/** Empty: the injector has none. */
function injectedImage(context: AnalysisContext, revision: string | undefined): string {
  const global = record(injectorValues(context, revision).global)
  const image = text(record(global.proxy).image)
  if (image === '' || image.includes('/')) return image
  return `${text(global.hub)}/${image}:${String(global.tag)}`
}

export const injectionImageAnalyzer: Analyzer = {
  name: 'injection.ImageAnalyzer',
  description: 'Checks the image of auto-injection configured with the running proxies on pods',
  run(context) {
    for (const namespace of context.all('Namespace')) {
      const revision = namespace.labels['istio.io/rev']
      if (namespace.labels['istio-injection'] !== 'enabled' && revision === undefined) continue
      const image = injectedImage(context, revision)
      if (image === '') continue
      const wrong = context
        .all('Pod')
        .filter((pod) => pod.namespace === namespace.name && !runs(pod, image, imageType(context, pod)))
        .map((pod) => pod.name)
        .sort()
      if (wrong.length > 0) {
        context.report(PodsIstioProxyImageMismatchInNamespace, namespace, 'metadata.name', wrong)
      }
    }
  },
}

function runs(pod: Entry, image: string, type: string): boolean {
  if (pod.annotations['sidecar.istio.io/proxyImage']) return true
  return [...list(pod.spec.containers), ...list(pod.spec.initContainers)]
    .filter((container) => container.name === PROXY_CONTAINER)
    .every((container) => container.image === image || container.image === `${image}-${type}`)
}

/** `image.imageType` of a pod: mesh, then root namespace, namespace and workload ProxyConfig, then its annotation. */
function imageType(context: AnalysisContext, pod: Entry): string {
  const typeOf = (config: unknown) => text(record(record(config).image).imageType)
  let type = context.options.imageType ?? ''
  const configs = context.istio('ProxyConfig', 'networking')
  const selecting = (config: Entry) => config.spec.selector !== undefined
  const steps = [
    configs.filter((config) => config.namespace === context.options.rootNamespace && !selecting(config)),
    configs.filter((config) => config.namespace === pod.namespace && !selecting(config)),
    configs.filter(
      (config) =>
        config.namespace === pod.namespace &&
        selecting(config) &&
        selects(record(config.spec.selector).matchLabels, pod.labels),
    ),
  ]
  for (const step of steps) for (const config of step) type = typeOf(config.spec) || type
  type = typeOf(parsed(pod.annotations['proxy.istio.io/config'] ?? '')) || type
  return type === 'default' ? '' : type
}
