// Gateways: credentials, conflicts, ports.

import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { hostsOverlap, list, record, selectorText, selects, strings, text } from '../fields.ts'
import {
  ConflictingGateways,
  GatewayDuplicateCertificate,
  GatewayPortNotDefinedOnService,
  InvalidGatewayCredential,
  ReferencedResourceNotFound,
} from '../messages.ts'

function gateways(context: AnalysisContext): readonly Entry[] {
  return context.istio('Gateway', 'networking')
}

/** Namespace of the pods a gateway selects; secrets are read there. */
function workloadNamespace(context: AnalysisContext, gateway: Entry): string {
  const pod = context.all('Pod').find((candidate) => selects(gateway.spec.selector, candidate.labels))
  return pod?.namespace ?? gateway.namespace
}

export const secretAnalyzer: Analyzer = {
  name: 'gateway.SecretAnalyzer',
  description: "Checks a gateway's referenced secrets for correctness",
  run(context) {
    for (const gateway of gateways(context)) {
      const namespace = workloadNamespace(context, gateway)
      for (const [i, server] of list(gateway.spec.servers).entries()) {
        const name = text(record(server.tls).credentialName)
        if (!name || text(record(server.tls).mode) === 'ISTIO_MUTUAL') continue
        const path = `spec.servers[${i}].tls.credentialName`
        const secret = context
          .all('Secret')
          .find((candidate) => candidate.name === name && candidate.namespace === namespace)
        if (!secret) context.report(ReferencedResourceNotFound, gateway, path, 'credentialName', name)
        else if (!isValidSecret(secret))
          context.report(InvalidGatewayCredential, gateway, path, gateway.name, gateway.namespace)
      }
    }
  },
}

/** tls.crt (or cert) parses and has not expired, tls.key (or key) parses. */
function isValidSecret(secret: Entry): boolean {
  const data = record(secret.item.object.data)
  const plain = record(secret.item.object.stringData)
  const value = (key: string) => text(plain[key]) || Buffer.from(text(data[key]), 'base64').toString('latin1')
  const certificate = value('tls.crt') || value('cert')
  const key = value('tls.key') || value('key')
  try {
    createPrivateKey(key)
    return new Date(new X509Certificate(certificate).validTo) > new Date()
  } catch {
    return false
  }
}

export const conflictingGatewayAnalyzer: Analyzer = {
  name: 'gateway.ConflictingGatewayAnalyzer',
  description: "Checks a gateway's selector, port number and hosts",
  run(context) {
    const all = gateways(context)
    for (const gateway of all) {
      for (const [i, server] of list(gateway.spec.servers).entries()) {
        const conflicting = all.filter(
          (other) =>
            other !== gateway &&
            sameWorkloads(gateway, other) &&
            list(other.spec.servers).some(
              (s) => record(s.port).number === record(server.port).number && hostsConflict(server, s, gateway, other),
            ),
        )
        if (conflicting.length === 0) continue
        const hosts = strings(server.hosts)
        context.report(
          ConflictingGateways,
          gateway,
          `spec.servers[${i}]`,
          conflicting.map((other) => (other.item.hasNamespace ? other.key : other.name)).join(','),
          selectorText(gateway.spec.selector),
          String(record(server.port).number),
          hosts.join(','),
        )
      }
    }
  },
}

/** One selector is contained in the other. */
function sameWorkloads(a: Entry, b: Entry): boolean {
  const [left, right] = [record(a.spec.selector), record(b.spec.selector)]
  return selects(left, right as Record<string, string>) || selects(right, left as Record<string, string>)
}

function hostsConflict(a: Record<string, unknown>, b: Record<string, unknown>, first: Entry, second: Entry): boolean {
  const full = (hosts: unknown, gateway: Entry) =>
    strings(hosts).map((host) => (host.includes('/') ? host.replace(/^\.\//, `${gateway.namespace}/`) : `*/${host}`))
  return full(a.hosts, first).some((left) =>
    full(b.hosts, second).some((right) => {
      const [scopeA, hostA] = left.split('/') as [string, string]
      const [scopeB, hostB] = right.split('/') as [string, string]
      return (scopeA === '*' || scopeB === '*' || scopeA === scopeB) && hostsOverlap(hostA, hostB)
    }),
  )
}

export const ingressPortAnalyzer: Analyzer = {
  name: 'gateway.IngressGatewayPortAnalyzer',
  description: "Checks a gateway's ports against the gateway's Kubernetes Service ports",
  run(context) {
    for (const gateway of gateways(context)) {
      const pods = context.all('Pod').filter((pod) => selects(gateway.spec.selector, pod.labels))
      const services = context.all('Service').filter((service) => {
        const selector = record(service.spec.selector)
        return (
          Object.keys(selector).length > 0 &&
          pods.some((pod) => pod.namespace === service.namespace && selects(selector, pod.labels))
        )
      })
      if (services.length === 0) {
        if (pods.length === 0)
          context.report(
            ReferencedResourceNotFound,
            gateway,
            'spec.selector',
            'selector',
            selectorText(gateway.spec.selector),
          )
        continue
      }
      const known = new Set(
        services.flatMap((service) => list(service.spec.ports).flatMap((port) => targetPorts(port, pods))),
      )
      for (const [i, server] of list(gateway.spec.servers).entries()) {
        const port = Number(record(server.port).number)
        if (port && !known.has(port)) {
          context.report(
            GatewayPortNotDefinedOnService,
            gateway,
            `spec.servers[${i}].port`,
            port,
            selectorText(gateway.spec.selector),
          )
        }
      }
    }
  },
}

/** A service port's number in the pods; names are looked up there. */
function targetPorts(port: Record<string, unknown>, pods: readonly Entry[]): number[] {
  const target = port.targetPort ?? port.port
  if (typeof target === 'number') return [target]
  if (/^\d+$/.test(String(target))) return [Number(target)]
  return pods.flatMap((pod) =>
    list(pod.spec.containers).flatMap((container) =>
      list(container.ports)
        .filter((p) => p.name === target)
        .map((p) => Number(p.containerPort)),
    ),
  )
}

export const duplicateCertificateAnalyzer: Analyzer = {
  name: 'gateway.CertificateAnalyzer',
  description: 'Checks a gateway certificate is not used by another gateway of the same workloads',
  run(context) {
    const users = new Map<string, Entry[]>()
    for (const gateway of gateways(context)) {
      const names = new Set(
        list(gateway.spec.servers)
          .map((server) => text(record(server.tls).credentialName))
          .filter(Boolean),
      )
      for (const name of names) {
        const key = `${selectorText(gateway.spec.selector)} ${name}`
        users.set(key, [...(users.get(key) ?? []), gateway])
      }
    }
    for (const entries of users.values()) {
      if (entries.length < 2) continue
      for (const gateway of entries) {
        context.report(
          GatewayDuplicateCertificate,
          gateway,
          'metadata.name',
          entries.map((e) => e.key),
        )
      }
    }
  },
}
