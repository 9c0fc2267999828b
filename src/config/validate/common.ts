// Rules that several resources share: host names, ports, weights, header names, selectors.
import { isIP } from 'node:net'
import type { PolicySelector, TargetReference } from '../resources/common.ts'
import type { Problems } from '../schema.ts'

const DNS_LABEL = /^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/
const HEADER_NAME = /^[-_A-Za-z0-9]+$/
const PORT_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/i
const PROTOCOLS = new Set([
  'TCP',
  'UDP',
  'GRPC',
  'GRPC-WEB',
  'HTTP',
  'HTTP_PROXY',
  'HTTP2',
  'HTTPS',
  'TLS',
  'MONGO',
  'REDIS',
  'MYSQL',
])
const LABEL_NAME = /^([a-zA-Z0-9.-]+\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/

/** A fully qualified or short DNS name, whose last label is not a number. */
export function checkFqdn(host: string, path: string, problems: Problems): boolean {
  const name = host.endsWith('.') ? host.slice(0, -1) : host
  if (name === '' || name.length > 255) {
    problems.error(path, `"${host}" is not a domain name`)
    return false
  }
  const labels = name.split('.')
  if (/^\d+$/.test(labels.at(-1)!)) {
    problems.error(path, `"${host}" is not a domain name: its last label "${labels.at(-1)}" is a number`)
    return false
  }
  for (const label of labels) {
    if (DNS_LABEL.test(label)) continue
    problems.error(path, `"${host}" is not a domain name: label "${label}" is invalid`)
    return false
  }
  return true
}

/** `*`, `*.example.com`, `*-a.example.com`, or a domain name. */
export function checkWildcardDomain(host: string, path: string, problems: Problems): boolean {
  if (host === '*') return true
  const star = host.indexOf('*')
  if (star < 0) return checkFqdn(host, path, problems)
  if (star > 0 || host.indexOf('*', 1) > 0) {
    problems.error(path, `"${host}": a wildcard may stand only at the start, once`)
    return false
  }
  if (host.startsWith('*.')) return checkFqdn(host.slice(2), path, problems)
  if (host.startsWith('*-')) return checkFqdn(`a${host.slice(1)}`, path, problems)
  return checkFqdn(host.slice(1), path, problems)
}

/** `*`, `*.example.com` or a domain name with a dot: what hosts of Gateways and Sidecars are. */
export function checkFullName(name: string, path: string, problems: Problems): void {
  if (!checkWildcardDomain(name, path, problems) || name === '*') return
  if (!name.includes('.'))
    problems.error(path, `"${name}": short names (non FQDN) are not allowed`, 'write the whole name')
  else if (name.startsWith('*') && !name.startsWith('*.')) {
    problems.error(path, `partial wildcard "${name}" not allowed`, 'use *.example.com')
  }
}

/** One label of a name (RFC 1123), as namespaces and subsets are. */
export function isDnsLabel(text: string): boolean {
  return DNS_LABEL.test(text)
}

export function isIpAddress(text: string): boolean {
  return isIP(text) !== 0
}

export function isIpOrCidr(text: string): boolean {
  const slash = text.indexOf('/')
  if (slash < 0) return isIP(text) !== 0
  const version = isIP(text.slice(0, slash))
  const bits = text.slice(slash + 1)
  return version !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)
}

export function checkPort(port: number, path: string, problems: Problems): void {
  if (port < 1 || port > 65535) problems.error(path, `port must be in range 1..65535, is ${port}`)
}

export function isHttpProtocol(protocol: string | undefined): boolean {
  return /^(http|http2|http_proxy|grpc|grpc-web)$/i.test(protocol ?? '')
}

export function isTlsProtocol(protocol: string | undefined): boolean {
  return /^(https|tls)$/i.test(protocol ?? '')
}

/** A protocol that Istio knows, in any case; none means that the proxy detects it. */
export function checkProtocol(protocol: string | undefined, path: string, problems: Problems): void {
  if (protocol && !PROTOCOLS.has(protocol.toUpperCase())) problems.error(path, `unsupported protocol: ${protocol}`)
}

/** A DNS label (RFC 1123), in any case. */
export function checkPortName(name: string, path: string, problems: Problems): void {
  if (!PORT_NAME.test(name)) problems.error(path, `invalid port name: "${name}"`, 'use letters, digits and -')
}

/** A subset is one DNS label: it becomes a part of the cluster's name. */
export function checkSubsetName(name: string, path: string, problems: Problems): void {
  if (name === '') problems.error(path, 'must not be empty')
  else if (!DNS_LABEL.test(name)) problems.error(path, `subset name is invalid: "${name}"`, 'use letters, digits and -')
}

/** Labels of workloads, as Kubernetes has them. */
export function checkWorkloadLabels(
  labels: Readonly<Record<string, string>> | undefined,
  path: string,
  problems: Problems,
): void {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!LABEL_NAME.test(key) || key.length > 317) problems.error(path, `"${key}" is not a label name`)
    if (!LABEL_VALUE.test(value)) problems.error(`${path}[${JSON.stringify(key)}]`, `"${value}" is not a label value`)
  }
}

export function checkHeaderName(name: string, path: string, problems: Problems): void {
  if (name === '') problems.error(path, 'header name must not be empty')
  else if (!HEADER_NAME.test(name)) problems.error(path, `"${name}" is not a valid header name`)
}

/** A name as HTTP has it (RFC 9110, 5.1). */
const TOKEN = /^[-!#$%&'*+.^_`|~0-9A-Za-z]+$/

export function isToken(text: string): boolean {
  return TOKEN.test(text)
}

const FORMAT_COMMAND = /%%|%[A-Z][A-Z0-9_]*(?:\([^)]*\))?(?::\d+)?%/g

/** A value is one of Envoy's formats: the proxy refuses the whole configuration over a `%` that is not part of one. */
export function checkHeaderValue(value: string, path: string, problems: Problems): void {
  if (/[\0\r\n]/.test(value)) problems.error(path, 'header value must not hold line breaks')
  if (value.replace(FORMAT_COMMAND, '').includes('%')) {
    problems.error(path, '"%" stands alone', 'write %% for a percent sign, or %COMMAND% for a value of the request')
  }
}

/**
 * Whom a resource of `namespace` is shown to. `.` is that namespace, by whichever name; `~` (nobody) is for a
 * ServiceEntry only, which its own workloads then still see.
 */
export function checkExportTo(
  exportTo: readonly string[] | undefined,
  namespace: string,
  problems: Problems,
  noneAllowed = false,
): void {
  if (!exportTo) return
  const path = 'spec.exportTo'
  const seen = new Set<string>()
  exportTo.forEach((entry, i) => {
    const at = `${path}[${i}]`
    const target = entry === '.' ? namespace : entry
    if (seen.has(target)) {
      const twice = exportTo.indexOf(entry) < i
      problems.error(at, twice ? `"${entry}" is listed twice` : `duplicate entries: "." is namespace "${namespace}"`)
    }
    seen.add(target)
    if (target === '*') return
    if (target === '~') {
      if (!noneAllowed) problems.error(at, '"~" (no namespace) is allowed in a ServiceEntry only')
      return
    }
    if (!DNS_LABEL.test(target)) problems.error(at, `"${entry}" is neither ".", "*" nor a namespace`)
  })
  if (exportTo.length < 2) return
  if (seen.has('*')) problems.error(path, '"*" (all namespaces) cannot stand beside others')
  if (noneAllowed && seen.has('~')) problems.error(path, '"~" (no namespace) cannot stand beside others')
}

/** `selector.matchLabels`: no wildcard, no empty key. */
export function checkSelector(selector: PolicySelector | undefined, path: string, problems: Problems): void {
  if (!selector) return
  const labels = selector.matchLabels
  if (!labels || Object.keys(labels).length === 0) {
    problems.warning(`${path}.matchLabels`, 'workload selector specified without labels')
    return
  }
  checkLabels(labels, `${path}.matchLabels`, problems)
}

export function checkLabels(labels: Readonly<Record<string, string>>, path: string, problems: Problems): void {
  for (const [key, value] of Object.entries(labels)) {
    if (key === '') problems.error(path, 'empty key is not supported in a selector')
    if (key.includes('*') || value.includes('*')) {
      problems.error(`${path}[${JSON.stringify(key)}]`, `wildcard is not supported in a selector: "${key}=${value}"`)
    }
  }
}

interface Targeted {
  readonly selector?: PolicySelector
  readonly targetRef?: TargetReference
  readonly targetRefs?: readonly TargetReference[]
}

const TARGET_KINDS = new Set([
  '/Service',
  'core/Service',
  'networking.istio.io/ServiceEntry',
  'gateway.networking.k8s.io/Gateway',
  'gateway.networking.k8s.io/GatewayClass',
])

/** A policy attaches by selector or by target reference, never both; a reference stays in its namespace. */
export function checkTargets(spec: Targeted, problems: Problems): void {
  const ways = ['selector', 'targetRef', 'targetRefs'] as const
  const used = ways.filter((way) => spec[way] !== undefined && (way !== 'targetRefs' || spec.targetRefs!.length > 0))
  if (used.length > 1) problems.error('spec', `only one of ${used.join(' or ')} can be set`)
  checkSelector(spec.selector, 'spec.selector', problems)
  if (spec.targetRef) checkTarget(spec.targetRef, 'spec.targetRef', problems)
  spec.targetRefs?.forEach((ref, i) => {
    checkTarget(ref, `spec.targetRefs[${i}]`, problems)
  })
}

function checkTarget(ref: TargetReference, path: string, problems: Problems): void {
  if (ref.namespace)
    problems.error(`${path}.namespace`, 'must not be set: cross namespace referencing is not supported')
  const target = `${ref.group ?? ''}/${ref.kind}`
  if (!TARGET_KINDS.has(target)) {
    problems.error(path, `must be a Service, ServiceEntry, Gateway or GatewayClass, is "${target}"`)
  }
}
