// Pods, Deployments, Services and Namespaces: what the mesh cannot work with.

import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { type Fields, list, record, selects, text } from '../fields.ts'
import {
  DeploymentAssociatedToMultipleServices,
  DeploymentConflictingPorts,
  ExternalNameServiceTypeInvalidPortName,
  ImageAutoWithoutInjectionError,
  ImageAutoWithoutInjectionWarning,
  InvalidApplicationUID,
  NamespaceInjectionEnabledByDefault,
  NamespaceMultipleInjectionLabels,
  NamespaceNotInjected,
  PodMissingProxy,
  PortNameIsNotUnderNamingConvention,
} from '../messages.ts'
import { injectorValues } from './proxy-image.ts'

const REVISION = 'istio.io/rev'
const DATAPLANE_MODE = 'istio.io/dataplane-mode'
const INJECT = 'sidecar.istio.io/inject'
const PROXY_UID = 1337
const PROXY_CONTAINER = 'istio-proxy'
/** Namespaces of the platform, which nobody injects. */
const SYSTEM_NAMESPACES = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage'])

function podSpecOf(entry: Entry): Fields {
  return entry.item.object.kind === 'Pod' ? entry.spec : record(record(entry.spec.template).spec)
}

function templateLabels(deployment: Entry): Readonly<Record<string, string>> {
  return record(record(record(deployment.spec.template).metadata).labels) as Record<string, string>
}

export const applicationUidAnalyzer: Analyzer = {
  name: 'applicationUID.Analyzer',
  description: 'Checks invalid application UID',
  run(context) {
    for (const entry of [...context.all('Pod'), ...context.all('Deployment.apps')]) {
      const spec = podSpecOf(entry)
      const base = entry.item.object.kind === 'Pod' ? 'spec' : 'spec.template.spec'
      const containers = list(spec.containers)
      const index = containers.findIndex(
        (container) => container.name !== PROXY_CONTAINER && record(container.securityContext).runAsUser === PROXY_UID,
      )
      if (record(spec.securityContext).runAsUser === PROXY_UID) {
        context.report(InvalidApplicationUID, entry, `${base}.securityContext.runAsUser`)
      } else if (index >= 0) {
        context.report(InvalidApplicationUID, entry, `${base}.containers[${index}].securityContext.runAsUser`)
      }
    }
  },
}

const PROTOCOLS = /^(grpc|grpc-web|http|http2|http_proxy|https|mongo|mysql|redis|tcp|tls|udp)$/i
/** SMTP, DNS, MySQL, MongoDB: TCP without being told. */
const WELL_KNOWN_PORTS: ReadonlySet<unknown> = new Set([25, 53, 3306, 27017])
const APP_PROTOCOLS = new Set(['kubernetes.io/h2c', 'kubernetes.io/ws', 'kubernetes.io/wss'])

/** Whether a word names a protocol that Istio knows, in any case. */
export function isProtocolWord(word: string): boolean {
  return PROTOCOLS.test(word)
}

/** Whether Istio knows the protocol of a port by its `appProtocol`, its name or its number. */
function tellsProtocol(port: Fields): boolean {
  if (port.protocol === 'UDP' || (typeof port.appProtocol === 'string' && APP_PROTOCOLS.has(port.appProtocol)))
    return true
  const name = text(port.appProtocol ?? port.name)
  const word = name.toLowerCase().startsWith('grpc-web') ? 'grpc-web' : name.replace(/-.*$/, '')
  return PROTOCOLS.test(word) || WELL_KNOWN_PORTS.has(port.port)
}

/** Labels of Services that an installation or a gateway controller wrote. */
const CONTROLLERS = new Set(['istio.io-gateway-controller', 'istio.io-mesh-controller', 'istio.io-eastwest-controller'])

export const portNameAnalyzer: Analyzer = {
  name: 'service.PortNameAnalyzer',
  description: 'Checks the port names associated with each service',
  run(context) {
    for (const service of context.all('Service')) {
      if (SYSTEM_NAMESPACES.has(service.namespace)) continue
      if (service.labels.istio !== undefined || service.labels.release === 'istio') continue
      if (CONTROLLERS.has(service.labels['gateway.istio.io/managed'] ?? '')) continue
      const external = service.spec.type === 'ExternalName'
      for (const [i, port] of list(service.spec.ports).entries()) {
        if (tellsProtocol(port) && !(external && port.name === 'tcp')) continue
        const path = `spec.ports[${i}]`
        if (external) context.report(ExternalNameServiceTypeInvalidPortName, service, path)
        else {
          const { name, port: number, targetPort = 0 } = port
          context.report(PortNameIsNotUnderNamingConvention, service, path, text(name), number, String(targetPort))
        }
      }
    }
  },
}

export const serviceAssociationAnalyzer: Analyzer = {
  name: 'deployment.MultiServiceAnalyzer',
  description: 'Checks association between services and pods',
  run(context) {
    for (const deployment of context.all('Deployment.apps')) {
      const services = context.all('Service').filter((service) => {
        const selector = record(service.spec.selector)
        return (
          service.namespace === deployment.namespace &&
          Object.keys(selector).length > 0 &&
          selects(selector, templateLabels(deployment))
        )
      })
      if (services.length > 1) checkAssociation(context, deployment, services)
    }
  },
}

function checkAssociation(context: AnalysisContext, deployment: Entry, services: readonly Entry[]): void {
  const byPort = new Map<string, { protocols: Set<string>; services: Set<string> }>()
  const byTarget = new Map<string, { ports: Set<string>; services: Set<string> }>()
  for (const service of services) {
    for (const port of list(service.spec.ports)) {
      const number = String(port.port)
      const target = String(port.targetPort ?? port.port)
      const a = byPort.get(number) ?? { protocols: new Set(), services: new Set() }
      a.protocols.add(text(port.protocol) || 'TCP')
      a.services.add(service.name)
      byPort.set(number, a)
      const b = byTarget.get(target) ?? { ports: new Set(), services: new Set() }
      b.ports.add(number)
      b.services.add(service.name)
      byTarget.set(target, b)
    }
  }
  for (const [port, { protocols, services: names }] of byPort) {
    if (protocols.size > 1) {
      context.report(DeploymentAssociatedToMultipleServices, deployment, 'metadata.name', deployment.name, port, [
        ...names,
      ])
    }
  }
  for (const [target, { ports, services: names }] of byTarget) {
    if (ports.size > 1) {
      context.report(DeploymentConflictingPorts, deployment, 'metadata.name', deployment.name, [...names], target, [
        ...ports,
      ])
    }
  }
}

export const injectionAnalyzer: Analyzer = {
  name: 'injection.Analyzer',
  description: 'Checks conditions related to Istio sidecar injection',
  run(context) {
    const injected = new Set<string>()
    for (const namespace of context.all('Namespace')) {
      if (SYSTEM_NAMESPACES.has(namespace.name) || namespace.name === context.options.istioNamespace) continue
      const { 'istio-injection': word, [REVISION]: revision, [DATAPLANE_MODE]: mode } = namespace.labels
      const labels = word === undefined ? [] : [`istio-injection=${word}`]
      for (const name of [REVISION, DATAPLANE_MODE]) {
        const value = namespace.labels[name]
        if (value !== undefined && (word === undefined || word === 'enabled')) labels.push(`${name}=${value}`)
      }
      if (labels.length > 1) context.report(NamespaceMultipleInjectionLabels, namespace, 'metadata.labels', labels)
      if (mode === 'ambient') continue
      if (!word && revision === undefined) {
        if (injectsByDefault(context)) context.report(NamespaceInjectionEnabledByDefault, namespace, 'metadata.name')
        else context.report(NamespaceNotInjected, namespace, 'metadata.name', namespace.name, namespace.name)
      } else if (word === 'enabled') injected.add(namespace.name)
    }
    for (const pod of context.all('Pod')) {
      if (!injected.has(pod.namespace) || pod.spec.hostNetwork === true) continue
      const inject = pod.labels[INJECT] ?? pod.annotations[INJECT]
      if (inject?.toLowerCase() === 'false') continue
      const containers = [...list(pod.spec.containers), ...list(pod.spec.initContainers)]
      if (!text(containers.find((container) => container.name === PROXY_CONTAINER)?.image))
        context.report(PodMissingProxy, pod, 'metadata.name', pod.fullName)
    }
  },
}

/** The injector was installed to inject namespaces that say nothing. */
function injectsByDefault(context: AnalysisContext): boolean {
  return record(injectorValues(context, undefined).sidecarInjectorWebhook).enableNamespacesByDefault === true
}

/** Whether some injection webhook takes pods with these labels in this namespace. */
function isInjected(context: AnalysisContext, namespace: string, labels: Readonly<Record<string, string>>): boolean {
  const namespaceLabels = context.all('Namespace').find((entry) => entry.name === namespace)?.labels ?? {}
  return context.all('MutatingWebhookConfiguration.admissionregistration.k8s.io').some((config) =>
    list(config.item.object.webhooks).some((webhook) => {
      const ofNamespace = record(webhook.namespaceSelector).matchLabels
      const ofObject = record(webhook.objectSelector).matchLabels
      if (ofNamespace === undefined && ofObject === undefined) return false
      return selects(ofNamespace, namespaceLabels) && selects(ofObject, labels)
    }),
  )
}

function usesImageAuto(spec: Fields): boolean {
  return list(spec.containers).some((container) => container.name === PROXY_CONTAINER && container.image === 'auto')
}

export const imageAutoAnalyzer: Analyzer = {
  name: 'injection.ImageAutoAnalyzer',
  description: 'Makes sure that Pods and Deployments with `image: auto` are going to be injected',
  run(context) {
    for (const pod of context.all('Pod')) {
      if (usesImageAuto(pod.spec) && !isInjected(context, pod.namespace, pod.labels)) {
        context.report(ImageAutoWithoutInjectionError, pod, 'spec.containers', 'Pod', pod.name)
      }
    }
    for (const deployment of context.all('Deployment.apps')) {
      if (
        usesImageAuto(podSpecOf(deployment)) &&
        !isInjected(context, deployment.namespace, templateLabels(deployment))
      ) {
        context.report(
          ImageAutoWithoutInjectionWarning,
          deployment,
          'spec.template.spec.containers',
          'Deployment',
          deployment.name,
        )
      }
    }
  },
}
