import type { AuthorizationPolicy, PeerAuthentication, RequestAuthentication } from '../resource.ts'
import type { AuthorizationOperation, AuthorizationRule, AuthorizationSource, JwtRule } from '../resources/security.ts'
import type { Problems } from '../schema.ts'
import { checkSelector, checkTargets, isIpOrCidr } from './common.ts'

export function validatePeerAuthentication({ spec }: PeerAuthentication, problems: Problems): void {
  checkSelector(spec.selector, 'spec.selector', problems)
  const ports = Object.keys(spec.portLevelMtls ?? {})
  if (ports.length > 0 && !Object.keys(spec.selector?.matchLabels ?? {}).length) {
    problems.error('spec.portLevelMtls', 'needs a selector: mesh and namespace policies cannot have port level mTLS')
  }
  for (const port of ports) {
    const number = /^\d+$/.test(port) ? Number(port) : -1
    if (number < 1 || number > 65535) {
      problems.error(`spec.portLevelMtls[${JSON.stringify(port)}]`, 'port must be in range 1..65535')
    }
  }
}

export function validateRequestAuthentication({ spec }: RequestAuthentication, problems: Problems): void {
  checkTargets(spec, problems)
  spec.jwtRules?.forEach((rule, i) => {
    validateJwtRule(rule, `spec.jwtRules[${i}]`, problems)
  })
}

function validateJwtRule(rule: JwtRule, path: string, problems: Problems): void {
  if (!rule.issuer && !rule.jwksUri) problems.error(`${path}.issuer`, 'issuer or jwksUri must be a non-empty string')
  if (rule.jwksUri !== undefined) {
    if (
      !/^https?:\/\/[^\s\\]*$/.test(rule.jwksUri) ||
      /^https?:\/\/[^/]*:[^\]/]*[^\d\]/][^/]*(\/|$)/.test(rule.jwksUri)
    )
      problems.error(`${path}.jwksUri`, `"${rule.jwksUri}" is not a URL`, 'use http:// or https://')
    else if (/^https?:\/\/(\/|$)/.test(rule.jwksUri)) problems.warning(`${path}.jwksUri`, 'names no host')
  }
  if (rule.jwks && rule.jwksUri) problems.error(path, 'only one of jwks and jwksUri can be set')
  if (rule.jwks && !isKeySet(rule.jwks)) problems.error(`${path}.jwks`, 'is not a JSON Web Key Set')
}

function isKeySet(text: string): boolean {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null && Array.isArray((parsed as { keys?: unknown }).keys)
  } catch {
    return false
  }
}

export function validateAuthorizationPolicy({ spec }: AuthorizationPolicy, problems: Problems): void {
  checkTargets(spec, problems)
  const action = spec.action ?? 'ALLOW'
  if (action === 'CUSTOM') {
    if (!spec.provider?.name) problems.error('spec.provider.name', 'is required with action CUSTOM')
    if (!spec.rules?.length) {
      problems.error(
        'spec.rules',
        'action CUSTOM without rules has no effect: it will never be triggered',
        'write "rules: [{}]" to ask for every request',
      )
    }
    spec.rules?.forEach((rule, i) => {
      checkCustomRule(rule, `spec.rules[${i}]`, problems)
    })
  } else if (spec.provider) problems.error('spec.provider', 'may be set only with action CUSTOM')
  if (action === 'DENY' && !spec.rules?.length) {
    problems.error('spec.rules', 'action DENY without rules has no effect', 'write "rules: [{}]" to deny everything')
  }
  spec.rules?.forEach((rule, i) => {
    validateRule(rule, `spec.rules[${i}]`, problems)
    if (action === 'DENY') warnHttpOnly(rule, `spec.rules[${i}]`, problems)
  })
}

/** What the proxy finds out only after the external authorizer was asked, or never. */
const NOT_CUSTOM = [
  'namespaces',
  'notNamespaces',
  'serviceAccounts',
  'notServiceAccounts',
  'trustDomains',
  'notTrustDomains',
  'principals',
  'notPrincipals',
  'requestPrincipals',
  'notRequestPrincipals',
] as const
const NOT_CUSTOM_KEY = /^(source\.(namespace|serviceAccount|trustDomain|principal)$|request\.auth\.)/

function checkCustomRule(rule: AuthorizationRule, path: string, problems: Problems): void {
  const message = 'is currently not supported with CUSTOM action'
  rule.from?.forEach(({ source }, i) => {
    for (const name of NOT_CUSTOM) {
      if (source?.[name]?.length) problems.error(`${path}.from[${i}].source.${name}`, message)
    }
  })
  rule.when?.forEach(({ key }, i) => {
    if (NOT_CUSTOM_KEY.test(key)) problems.error(`${path}.when[${i}].key`, `${key} ${message}`)
  })
}

/** On a TCP port the HTTP conditions of a DENY rule fall away, and what is left of it denies. */
function warnHttpOnly(rule: AuthorizationRule, path: string, problems: Problems): void {
  const { from = [], to = [] } = rule
  const tcpSource = from.some(({ source }) => TCP_SOURCE.some((name) => source?.[name]?.length))
  const ports = to.some(({ operation }) => operation?.ports?.length || operation?.notPorts?.length)
  if (to.length > 0 ? ports : from.length === 0 || tcpSource) return
  problems.warning(
    path,
    'will deny all traffic to TCP ports under its scope: a DENY rule with HTTP attributes only',
    'name the ports in to.operation.ports',
  )
}

const TCP_SOURCE = [
  'principals',
  'notPrincipals',
  'ipBlocks',
  'notIpBlocks',
  'namespaces',
  'notNamespaces',
  'remoteIpBlocks',
  'notRemoteIpBlocks',
  'serviceAccounts',
  'notServiceAccounts',
] as const

function validateRule(rule: AuthorizationRule, path: string, problems: Problems): void {
  rule.from?.forEach((from, i) => {
    const at = `${path}.from[${i}].source`
    if (isEmpty(from.source)) problems.error(at, 'must set at least one field')
    else validateSource(from.source!, at, problems)
  })
  rule.to?.forEach((to, i) => {
    const at = `${path}.to[${i}].operation`
    if (isEmpty(to.operation)) problems.error(at, 'must set at least one field')
    else validateOperation(to.operation!, at, problems)
  })
  rule.when?.forEach((condition, i) => {
    const at = `${path}.when[${i}]`
    if (!condition.values?.length && !condition.notValues?.length) problems.error(at, 'must set values or notValues')
    validateKey(condition.key, `${at}.key`, problems)
    for (const name of ['values', 'notValues'] as const) {
      checkValues(condition[name], `${at}.${name}`, problems)
      if (condition.key === 'source.serviceAccount') checkAccounts(condition[name], `${at}.${name}`, problems)
    }
    if (condition.key === 'destination.port') {
      checkPorts([...(condition.values ?? []), ...(condition.notValues ?? [])], () => at, problems)
    }
    if (condition.key === 'source.ip' || condition.key === 'remote.ip' || condition.key === 'destination.ip') {
      checkAddresses([...(condition.values ?? []), ...(condition.notValues ?? [])], at, problems)
    }
  })
}

function validateSource(source: AuthorizationSource, path: string, problems: Problems): void {
  for (const [name, values] of Object.entries(source)) checkValues(values, `${path}.${name}`, problems)
  for (const name of ['ipBlocks', 'notIpBlocks', 'remoteIpBlocks', 'notRemoteIpBlocks'] as const) {
    checkAddresses(source[name] ?? [], `${path}.${name}`, problems)
  }
  const accounts = source.serviceAccounts?.length || source.notServiceAccounts?.length
  if (accounts) {
    for (const name of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'] as const) {
      if (source[name]?.length) problems.error(`${path}.serviceAccounts`, `cannot stand beside ${name}`)
    }
  }
  for (const name of ['serviceAccounts', 'notServiceAccounts'] as const) {
    checkAccounts(source[name], `${path}.${name}`, problems)
  }
  for (const name of ['trustDomains', 'notTrustDomains'] as const) {
    source[name]?.forEach((domain, i) => {
      if (domain.includes('/'))
        problems.error(`${path}.${name}[${i}]`, `"${domain}": trust domain must not contain "/"`)
    })
  }
}

/** Nothing set, or lists without entries, which count as not set. */
function isEmpty(fields: object | undefined): boolean {
  return Object.values(fields ?? {}).every((value) => Array.isArray(value) && value.length === 0)
}

function checkAccounts(accounts: readonly string[] | undefined, path: string, problems: Problems): void {
  accounts?.forEach((account, i) => {
    if (account.includes('*')) problems.error(`${path}[${i}]`, 'must not have a wildcard')
    else if (account.split('/').length > 2) problems.error(`${path}[${i}]`, 'must be name or namespace/name')
  })
}

function validateOperation(operation: AuthorizationOperation, path: string, problems: Problems): void {
  for (const [name, values] of Object.entries(operation)) checkValues(values, `${path}.${name}`, problems)
  for (const name of ['ports', 'notPorts'] as const) {
    checkPorts(operation[name] ?? [], (i) => `${path}.${name}[${i}]`, problems)
  }
  for (const name of ['paths', 'notPaths'] as const) {
    operation[name]?.forEach((text, i) => {
      validatePathTemplate(text, `${path}.${name}[${i}]`, problems)
    })
  }
}

/** `{*}` stands for one segment, `{**}` for any number and only at the end; neither mixes with `*`. */
function validatePathTemplate(text: string, path: string, problems: Problems): void {
  if (!text.includes('{*}') && !text.includes('{**}')) return
  let sawAny = false
  for (const segment of text.split('/').slice(1)) {
    if (sawAny && segment.startsWith('{')) {
      problems.error(path, `"${text}": {**} must be the last operator`)
      return
    }
    if (segment === '{*}') continue
    if (segment === '{**}') {
      sawAny = true
      continue
    }
    if (/[*{}]/.test(segment)) {
      problems.error(path, `"${text}": a segment is a literal, {*} or {**}`)
      return
    }
  }
}

function checkPorts(ports: readonly string[], at: (index: number) => string, problems: Problems): void {
  ports.forEach((port, i) => {
    const number = /^\d+$/.test(port) ? Number(port) : -1
    if (number < 1 || number > 65535) problems.error(at(i), `"${port}" is not a port`)
  })
}

function checkValues(values: unknown, path: string, problems: Problems): void {
  if (!Array.isArray(values)) return
  values.forEach((value, i) => {
    if (value === '') problems.error(`${path}[${i}]`, 'must not be empty')
  })
}

function checkAddresses(values: readonly string[], path: string, problems: Problems): void {
  for (const value of values) if (!isIpOrCidr(value)) problems.error(path, `"${value}" is not an address or CIDR`)
}

const KEYS = new Set([
  'source.ip',
  'remote.ip',
  'source.namespace',
  'source.principal',
  'source.serviceAccount',
  'source.trustDomain',
  'request.auth.principal',
  'request.auth.audiences',
  'request.auth.presenter',
  'destination.ip',
  'destination.port',
  'connection.sni',
])

function validateKey(key: string, path: string, problems: Problems): void {
  if (KEYS.has(key)) return
  if (/^request\.headers\[.+\]$/.test(key) || /^request\.auth\.claims(\[[^\]]+\])+$/.test(key)) return
  if (key.startsWith('experimental.envoy.filters.')) return
  problems.error(path, `"${key}" is not a known attribute`)
}
