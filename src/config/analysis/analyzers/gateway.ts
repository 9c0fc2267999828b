// Gateways: credentials, conflicts, ports.

import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { type Fields, list, record, selectorText, selects, strings, text } from '../fields.ts'
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

export const secretAnalyzer: Analyzer = {
  name: 'gateway.SecretAnalyzer',
  description: "Checks a gateway's referenced secrets for correctness",
  run(context) {
    for (const gateway of gateways(context)) {
      // Credentials are read in the namespace of the pods.
      const pod = context.all('Pod').find((candidate) => selects(gateway.spec.selector, candidate.labels))
      if (!pod) {
        const selector = selectorText(gateway.spec.selector)
        context.report(ReferencedResourceNotFound, gateway, 'spec.selector', 'selector', selector)
        continue
      }
      for (const [i, server] of list(gateway.spec.servers).entries()) {
        const credential = text(record(server.tls).credentialName)
        if (!credential) continue
        const path = `spec.servers[${i}].tls.credentialName`
        const slash = credential.indexOf('/')
        const namespace = slash < 0 ? pod.namespace : credential.slice(0, slash)
        const name = credential.slice(slash + 1)
        const secret = context.all('Secret').find((one) => one.name === name && one.namespace === namespace)
        if (!secret) context.report(ReferencedResourceNotFound, gateway, path, 'credentialName', credential)
        else if (!isValidSecret(secret))
          context.report(InvalidGatewayCredential, gateway, path, gateway.name, pod.namespace)
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
            sameWorkloads(context, gateway, other) &&
            list(other.spec.servers).some((one) => serversConflict(server, one)),
        )
        if (conflicting.length === 0) continue
        context.report(
          ConflictingGateways,
          gateway,
          `spec.servers[${i}]`,
          conflicting
            .map((other) => other.fullName)
            .sort()
            .join(','),
          selectorText(gateway.spec.selector),
          String(record(server.port).number),
          strings(server.hosts).join(','),
        )
      }
    }
  },
}

/** The same selector, or one that is contained in the other and selects a pod in common. */
function sameWorkloads(context: AnalysisContext, a: Entry, b: Entry): boolean {
  const [left, right] = [a.spec.selector, b.spec.selector]
  if (selectorText(left) === selectorText(right)) return true
  const contained = selectorText(left).includes(selectorText(right)) || selectorText(right).includes(selectorText(left))
  return contained && context.all('Pod').some(({ labels }) => selects(left, labels) && selects(right, labels))
}

/** One port and address, and a host in common. */
function serversConflict(a: Fields, b: Fields): boolean {
  if (record(a.port).number !== record(b.port).number || text(a.bind) !== text(b.bind)) return false
  const hosts = new Set(strings(b.hosts))
  return strings(a.hosts).some((host) => hosts.has(host))
}

export const ingressPortAnalyzer: Analyzer = {
  name: 'gateway.IngressGatewayPortAnalyzer',
  description: "Checks a gateway's ports against the gateway's Kubernetes Service ports",
  run(context) {
    for (const gateway of gateways(context)) {
      const pods = context.all('Pod').filter((pod) => selects(gateway.spec.selector, pod.labels))
      if (pods.length === 0) {
        const selector = selectorText(gateway.spec.selector)
        context.report(ReferencedResourceNotFound, gateway, 'spec.selector', 'selector', selector)
        continue
      }
      const known = new Set(
        context
          .all('Service')
          .filter(({ namespace, spec }) =>
            pods.some((pod) => pod.namespace === namespace && selects(spec.selector, pod.labels)),
          )
          .flatMap((service) => list(service.spec.ports).flatMap(reachablePorts)),
      )
      for (const [i, server] of list(gateway.spec.servers).entries()) {
        const port = Number(record(server.port).number)
        if (!port || known.has(port)) continue
        const selector = selectorText(gateway.spec.selector)
        context.report(GatewayPortNotDefinedOnService, gateway, `spec.servers[${i}].port`, port, selector)
      }
    }
  },
}

/** Ports of a gateway that a TCP port of its Service leads to: by its number in the pods, or by its own. */
function reachablePorts({ protocol = 'TCP', port, targetPort }: Readonly<Record<string, unknown>>): number[] {
  if (protocol !== 'TCP') return []
  const target = Number(targetPort ?? 0)
  return target ? [target, Number(port)] : [Number(port)]
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
