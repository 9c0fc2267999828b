import { hostsOverlap } from '../analysis/fields.ts'
import { shadowedRules, shadowText } from '../analysis/shadowed-rules.ts'
import type { VirtualService } from '../resource.ts'
import type { Destination } from '../resources/common.ts'
import type {
  HeaderOperations,
  HttpMatchRequest,
  HttpRoute,
  L4MatchAttributes,
  RouteDestination,
  TlsMatchAttributes,
} from '../resources/virtual-service.ts'
import type { Problems } from '../schema.ts'
import {
  checkExportTo,
  checkFqdn,
  checkHeaderName,
  checkHeaderValue,
  checkPort,
  checkSubsetName,
  checkWildcardDomain,
  checkWorkloadLabels,
  isDnsLabel,
  isIpAddress,
  isIpOrCidr,
  isToken,
} from './common.ts'
import { checkPercent, checkStringMatch, validateCors, validateFault, validateRetries } from './http-policies.ts'
import { checkRegex } from './regex.ts'

export function validateVirtualService({ spec, metadata }: VirtualService, problems: Problems): void {
  const hosts = spec.hosts ?? []
  const isDelegate = hosts.length === 0
  const routes = (spec.http?.length ?? 0) + (spec.tls?.length ?? 0) + (spec.tcp?.length ?? 0)
  if (routes === 0) problems.error('spec', 'must have at least one http, tls or tcp route')
  if (isDelegate) {
    if (spec.gateways?.length)
      problems.error('spec.gateways', 'must be empty for a delegate (a VirtualService without hosts)')
    if (spec.tls?.length || spec.tcp?.length)
      problems.error('spec', 'a delegate VirtualService can have only http routes')
  }
  const appliesToMesh = !spec.gateways?.length || spec.gateways.includes('mesh')
  hosts.forEach((host, i) => {
    const path = `spec.hosts[${i}]`
    const earlier = hosts.slice(0, i).find((other) => hostsOverlap(other, host))
    if (earlier !== undefined) problems.error(path, `duplicate hosts in virtual service: ${earlier} & ${host}`)
    if (isIpAddress(host)) return
    if (checkWildcardDomain(host, path, problems) && appliesToMesh && host === '*') {
      problems.error(path, 'wildcard host * is not allowed for virtual services bound to the mesh gateway')
    }
  })
  checkGatewayNames(spec.gateways, 'spec.gateways', problems)
  spec.http?.forEach((route, i) => {
    validateHttpRoute(route, `spec.http[${i}]`, { isDelegate, appliesToMesh }, problems)
  })
  spec.tls?.forEach((route, i) => {
    const path = `spec.tls[${i}]`
    if (route.match.length === 0) problems.error(`${path}.match`, 'must have at least one match')
    route.match.forEach((match, j) => {
      validateTlsMatch(match, hosts, `${path}.match[${j}]`, problems)
    })
    validateWeights(route.route, `${path}.route`, problems)
  })
  spec.tcp?.forEach((route, i) => {
    const path = `spec.tcp[${i}]`
    route.match?.forEach((match, j) => {
      validateL4Match(match, `${path}.match[${j}]`, problems)
    })
    validateWeights(route.route, `${path}.route`, problems)
  })
  checkExportTo(spec.exportTo, metadata.namespace, problems)
  for (const found of shadowedRules(spec)) {
    problems.warning(found.path, shadowText(found))
  }
}

function checkGatewayNames(names: readonly string[] | undefined, path: string, problems: Problems): void {
  names?.forEach((name, i) => {
    const at = `${path}[${i}]`
    const parts = name.split('/')
    if (parts.length > 1) {
      if (parts.length > 2 || !parts.every(isDnsLabel)) {
        problems.error(at, `"${name}" is not a gateway name`, 'use name, namespace/name or mesh')
      }
      return
    }
    if (!checkFqdn(name, at, problems) || !name.includes('.')) return
    const [gateway, namespace] = name.split('.')
    problems.warning(at, `using legacy gatewayName format "${name}"`, `write ${namespace}/${gateway}`)
  })
}

function validateHttpRoute(
  route: HttpRoute,
  path: string,
  { isDelegate, appliesToMesh }: { readonly isDelegate: boolean; readonly appliesToMesh: boolean },
  problems: Problems,
): void {
  const actions = (['redirect', 'directResponse', 'delegate'] as const).filter((name) => route[name] !== undefined)
  if (route.route?.length) actions.unshift('route' as never)
  if (actions.length === 0) problems.error(path, 'must have a route, redirect, directResponse or delegate')
  if (actions.length > 1) problems.error(path, `can have only one of ${actions.join(', ')}`)
  if (route.delegate && isDelegate) problems.error(`${path}.delegate`, 'a delegate cannot delegate again')
  if (route.redirect) {
    if (route.fault) problems.error(`${path}.fault`, 'a redirect cannot have a fault')
    if (route.rewrite) problems.error(`${path}.rewrite`, 'a redirect cannot have a rewrite')
    validateRedirect(route, path, problems)
  }
  if (route.directResponse) {
    if (route.fault) problems.error(`${path}.fault`, 'a direct response cannot have a fault')
    if (route.rewrite) problems.error(`${path}.rewrite`, 'a direct response cannot have a rewrite')
    const { status, body } = route.directResponse
    if (status < 200 || status > 599)
      problems.error(`${path}.directResponse.status`, `must be in range 200..599, is ${status}`)
    const size = body?.string?.length ?? (body?.bytes ? Buffer.byteLength(body.bytes, 'base64') : 0)
    if (size > 1024 * 1024) problems.error(`${path}.directResponse.body`, 'must have at most 1048576 bytes')
    else if (size > 100 * 1024) problems.warning(`${path}.directResponse.body`, 'is large: it is sent to every proxy')
  }
  route.match?.forEach((match, i) => {
    validateMatch(match, `${path}.match[${i}]`, appliesToMesh, problems)
  })
  if (route.name?.includes(';')) problems.error(`${path}.name`, 'must not contain ;')
  validateRewrite(route, path, problems)
  validateHttpDestinations(route, path, problems)
  checkHeaders(route.headers?.request, `${path}.headers.request`, true, problems)
  checkHeaders(route.headers?.response, `${path}.headers.response`, false, problems)
  checkAuthorityRewrite(route, path, problems)
  if (route.retries) validateRetries(route.retries, `${path}.retries`, problems)
  if (route.fault) validateFault(route.fault, `${path}.fault`, problems)
  if (route.mirror && route.mirrors?.length) problems.error(`${path}.mirrors`, 'cannot stand beside mirror')
  if (route.mirrorPercent !== undefined) {
    problems.warning(`${path}.mirrorPercent`, 'is deprecated', 'use mirrorPercentage')
  }
  if (route.mirror) checkDestination(route.mirror, `${path}.mirror`, problems)
  checkPercent(route.mirrorPercentage, `${path}.mirrorPercentage`, problems)
  route.mirrors?.forEach((mirror, i) => {
    checkDestination(mirror.destination, `${path}.mirrors[${i}].destination`, problems)
    checkPercent(mirror.percentage, `${path}.mirrors[${i}].percentage`, problems)
  })
  if (route.corsPolicy) validateCors(route.corsPolicy, `${path}.corsPolicy`, problems)
}

function validateRedirect({ redirect, match }: HttpRoute, path: string, problems: Problems): void {
  if (!redirect) return
  const at = `${path}.redirect`
  if (
    !redirect.uri &&
    !redirect.authority &&
    !redirect.scheme &&
    !redirect.prefixRewrite &&
    redirect.port === undefined
  ) {
    if (!redirect.derivePort) problems.error(at, 'must set uri, authority, scheme or port')
  }
  if (redirect.uri && redirect.prefixRewrite) problems.error(at, 'can have only one of uri and prefixRewrite')
  if (redirect.prefixRewrite && match?.some(({ uri }) => uri && uri.prefix === undefined)) {
    problems.error(`${at}.prefixRewrite`, 'requires all URI matches to use prefix match type')
  }
  const code = redirect.redirectCode
  if (code !== undefined && code !== 0 && (code < 300 || code > 399)) {
    problems.error(`${at}.redirectCode`, `must be in range 300..399, is ${code}`)
  }
  if (redirect.scheme && redirect.scheme !== 'http' && redirect.scheme !== 'https') {
    problems.error(`${at}.scheme`, 'must be http or https')
  }
  if (redirect.port) checkPort(redirect.port, `${at}.port`, problems)
}

function validateRewrite({ rewrite, match }: HttpRoute, path: string, problems: Problems): void {
  if (!rewrite) return
  const at = `${path}.rewrite`
  const regex = rewrite.uriRegexRewrite
  if (!rewrite.uri && !rewrite.authority && !regex) problems.error(at, 'must set uri, authority or uriRegexRewrite')
  if (rewrite.uri && regex) problems.error(at, 'can have only one of uri and uriRegexRewrite')
  if (regex) {
    if (!regex.match || !regex.rewrite) problems.error(`${at}.uriRegexRewrite`, 'must set match and rewrite')
    else checkRegex(regex.match, `${at}.uriRegexRewrite.match`, problems)
  }
  if (rewrite.uri && match?.some((one) => one.uri?.regex !== undefined)) {
    problems.warning(`${at}.uri`, 'replaces the whole path on a match by regex', 'use uriRegexRewrite')
  }
}

function validateHttpDestinations(route: HttpRoute, path: string, problems: Problems): void {
  const list = route.route ?? []
  list.forEach((one, i) => {
    const at = `${path}.route[${i}]`
    checkDestination(one.destination, `${at}.destination`, problems)
    checkHeaders(one.headers?.request, `${at}.headers.request`, true, problems)
    checkHeaders(one.headers?.response, `${at}.headers.response`, false, problems)
  })
  checkWeights(list, `${path}.route`, problems)
}

function validateWeights(routes: readonly RouteDestination[] | undefined, path: string, problems: Problems): void {
  if (!routes?.length) {
    problems.error(path, 'must have at least one destination')
    return
  }
  routes.forEach((one, i) => {
    checkDestination(one.destination, `${path}[${i}].destination`, problems)
  })
  checkWeights(routes, path, problems)
}

/** As a proxy would have it: it refuses the whole configuration otherwise. */
const MAX_TOTAL_WEIGHT = 2 ** 32 - 1

function checkWeights(routes: readonly { readonly weight?: number }[], path: string, problems: Problems): void {
  if (routes.length < 2) return
  const total = routes.reduce((sum, { weight = 0 }) => sum + weight, 0)
  if (total === 0) problems.error(path, 'the sum of weights must be more than 0')
  if (total > MAX_TOTAL_WEIGHT) problems.error(path, `the sum of weights must be at most ${MAX_TOTAL_WEIGHT}`)
}

function checkDestination(destination: Destination, path: string, problems: Problems): void {
  if (destination.host === '*') problems.error(`${path}.host`, 'must be one host, not *')
  else checkWildcardDomain(destination.host, `${path}.host`, problems)
  if (destination.subset) checkSubsetName(destination.subset, `${path}.subset`, problems)
  if (destination.port) checkPort(destination.port.number ?? 0, `${path}.port.number`, problems)
}

const PSEUDO_HEADER = /^:(method|scheme|authority|path|status)$/
const CLAIM = /^@request\.auth\.claims[.[]/i

function validateMatch(match: HttpMatchRequest, path: string, claimsFail: boolean, problems: Problems): void {
  for (const name of ['uri', 'scheme', 'method', 'authority'] as const) {
    const value = match[name]
    // Envoy takes an empty prefix of a path, not of another text.
    if (value && !(name === 'uri' && value.prefix === '')) checkStringMatch(value, `${path}.${name}`, problems)
  }
  for (const name of ['headers', 'withoutHeaders'] as const) {
    for (const [header, value] of Object.entries(match[name] ?? {})) {
      const at = `${path}.${name}[${JSON.stringify(header)}]`
      if (!header.startsWith('@') && !PSEUDO_HEADER.test(header)) checkHeaderName(header, at, problems)
      if (claimsFail && CLAIM.test(header))
        problems.error(
          at,
          'JWT claim based routing is only supported for gateway',
          'name the gateways in spec.gateways',
        )
      // The absence of a header may be written so, as its presence was once.
      if (name === 'withoutHeaders' && value.regex === '*') continue
      checkStringMatch(value, at, problems)
    }
  }
  for (const [name, value] of Object.entries(match.queryParams ?? {})) {
    checkStringMatch(value, `${path}.queryParams[${JSON.stringify(name)}]`, problems)
  }
  if (match.uri?.regex !== undefined && match.ignoreUriCase) {
    problems.warning(`${path}.ignoreUriCase`, 'has no effect on a regex')
  }
  if (match.port) checkPort(match.port, `${path}.port`, problems)
  checkGatewayNames(match.gateways, `${path}.gateways`, problems)
  checkWorkloadLabels(match.sourceLabels, `${path}.sourceLabels`, problems)
  if (match.sourceNamespace && !isDnsLabel(match.sourceNamespace)) {
    problems.error(`${path}.sourceNamespace`, `"${match.sourceNamespace}" is not a namespace`)
  }
}

function checkHeaders(
  operations: HeaderOperations | undefined,
  path: string,
  ofRequest: boolean,
  problems: Problems,
): void {
  if (!operations) return
  for (const name of ['set', 'add'] as const) {
    for (const [header, value] of Object.entries(operations[name] ?? {})) {
      const at = `${path}.${name}[${JSON.stringify(header)}]`
      checkMutableHeader(header, at, ofRequest, problems)
      checkHeaderValue(value, at, problems)
    }
  }
  operations.remove?.forEach((header, i) => {
    const at = `${path}.remove[${i}]`
    // What is no name of a header is in no request.
    if (header === '' || header.startsWith(':') || isAuthority(header)) checkMutableHeader(header, at, false, problems)
  })
}

/** Envoy refuses to mutate pseudo headers; the authority of a request may be set, and becomes a host rewrite. */
function checkMutableHeader(header: string, path: string, authorityAllowed: boolean, problems: Problems): void {
  if (isAuthority(header)) {
    if (!authorityAllowed) problems.error(path, `invalid header "${header}": cannot set Host header here`)
  } else if (header.startsWith(':')) problems.error(path, `invalid header "${header}": header cannot have ":" prefix`)
  else if (!isToken(header)) checkHeaderName(header, path, problems)
}

function isAuthority(header: string): boolean {
  const name = header.toLowerCase()
  return name === ':authority' || name === 'host'
}

/** One place says what the authority becomes: the rewrite, or one header. */
function checkAuthorityRewrite({ rewrite, headers }: HttpRoute, path: string, problems: Problems): void {
  const { set, add } = headers?.request ?? {}
  const values = [...Object.entries(set ?? {}), ...Object.entries(add ?? {})].filter(([name]) => isAuthority(name))
  const all = [rewrite?.authority ?? '', ...values.map(([, value]) => value)].filter((value) => value !== '')
  if (all.length > 1) {
    const [have, next] = all
    problems.error(
      `${path}.headers.request`,
      `authority header cannot be set multiple times: have "${have}", attempting to set "${next}"`,
    )
  }
}

function validateTlsMatch(match: TlsMatchAttributes, hosts: readonly string[], path: string, problems: Problems): void {
  if (match.sniHosts.length === 0) problems.error(`${path}.sniHosts`, 'must have at least one host')
  match.sniHosts.forEach((sni, i) => {
    const at = `${path}.sniHosts[${i}]`
    if (isIpAddress(sni)) {
      problems.warning(at, `using an IP address ("${sni}") goes against SNI: most clients do not send one`)
      return
    }
    if (!checkWildcardDomain(sni, at, problems)) return
    if (!hosts.some((host) => within(sni, host))) {
      problems.error(at, `"${sni}" is not one of the hosts of this VirtualService`)
    }
  })
  validateL4Match(match, path, problems)
}

function within(sni: string, host: string): boolean {
  if (!host.startsWith('*')) return sni === host || (sni.endsWith(host) && sni.startsWith('*') && sni.slice(1) === host)
  return sni.replace(/^\*/, '').endsWith(host.slice(1))
}

function validateL4Match(match: L4MatchAttributes | TlsMatchAttributes, path: string, problems: Problems): void {
  match.destinationSubnets?.forEach((subnet, i) => {
    if (!isIpOrCidr(subnet)) problems.error(`${path}.destinationSubnets[${i}]`, `"${subnet}" is not an address or CIDR`)
  })
  if (match.port) checkPort(match.port, `${path}.port`, problems)
  checkGatewayNames(match.gateways, `${path}.gateways`, problems)
  checkWorkloadLabels(match.sourceLabels, `${path}.sourceLabels`, problems)
}
