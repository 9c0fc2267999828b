// Security policies.
import type { Draw } from './draw.ts'
import { attachment, selector } from './vocabulary.ts'

const MODES = ['STRICT', 'PERMISSIVE', 'DISABLE', 'UNSET'] as const

export function peerAuthentication(draw: Draw): object {
  const chosen = selector(draw)
  return {
    selector: chosen,
    mtls: draw.maybe(0.85, () => ({ mode: draw.pick(MODES) })),
    portLevelMtls:
      chosen &&
      draw.maybe(0.5, () =>
        Object.fromEntries(
          draw.some([80, 8080, 9000, 443, 8443, 7777, 9999], 1, 2).map((port) => [port, { mode: draw.pick(MODES) }]),
        ),
      ),
  }
}

export function requestAuthentication(draw: Draw): object {
  return {
    ...attachment(draw),
    jwtRules: draw.many(0, 2, (index) => ({
      issuer: `issuer-${index}${draw.pick(['', '-a'])}`,
      audiences: draw.maybe(0.4, () => draw.some(['aud1', 'aud2'], 1, 2)),
      jwks: '{"keys":[{"kty":"oct","k":"AQ"}]}',
      fromHeaders: draw.maybe(0.3, () => [{ name: 'x-jwt', prefix: draw.maybe(0.5, () => 'Bearer ') }]),
      fromParams: draw.maybe(0.2, () => ['token']),
      fromCookies: draw.maybe(0.2, () => ['session']),
      outputPayloadToHeader: draw.maybe(0.3, () => 'x-payload'),
      forwardOriginalToken: draw.maybe(0.3, () => draw.chance(0.7)),
      outputClaimToHeaders: draw.maybe(0.2, () => [{ header: 'x-sub', claim: draw.pick(['sub', 'nested.key']) }]),
      timeout: draw.maybe(0.1, () => '3s'),
      spaceDelimitedClaims: draw.maybe(0.1, () => ['custom']),
    })),
  }
}

function source(draw: Draw): object {
  const list = (values: readonly string[]) => draw.maybe(0.25, () => draw.some(values, 1, 2))
  return {
    principals: list(['cluster.local/ns/default/sa/web', '*', '*/sa/web', 'cluster.local/*', 'td/ns/x/sa/y']),
    notPrincipals: list(['cluster.local/ns/other/sa/db']),
    requestPrincipals: list(['issuer/sub', '*', 'issuer/*', '*/sub']),
    notRequestPrincipals: list(['issuer/bad']),
    namespaces: list(['default', 'o*', '*er', '*']),
    notNamespaces: list(['third', 'x*']),
    serviceAccounts: draw.maybe(0.1, () => draw.some(['web', 'other/db'], 1, 2)),
    notServiceAccounts: draw.maybe(0.06, () => draw.some(['api', 'third/db'], 1, 2)),
    trustDomains: draw.maybe(0.08, () => draw.some(['cluster.local', 'td', 'old*', '*'], 1, 2)),
    notTrustDomains: draw.maybe(0.06, () => draw.some(['bad.td', '*.td'], 1, 1)),
    ipBlocks: list(['10.0.0.0/8', '192.168.1.1', '2001:db8::/32']),
    notIpBlocks: list(['10.1.0.0/16']),
    remoteIpBlocks: list(['203.0.113.0/24']),
    notRemoteIpBlocks: list(['203.0.113.7']),
  }
}

function operation(draw: Draw): object {
  const list = (values: readonly string[]) => draw.maybe(0.3, () => draw.some(values, 1, 2))
  return {
    hosts: list(['web', '*.example.com', 'a.com:*', '*']),
    notHosts: list(['bad.com']),
    ports: list(['80', '8080', '9000']),
    notPorts: list(['443']),
    methods: list(['GET', 'POST', '*']),
    notMethods: list(['DELETE']),
    paths: list(['/a', '/a*', '*/z', '*', '/a/{*}/b', '/a/{**}']),
    notPaths: list(['/admin', '/x*']),
  }
}

const CONDITIONS: readonly [string, readonly string[]][] = [
  ['request.headers[x-user]', ['a', 'b*', '*c', '*']],
  ['source.ip', ['10.0.0.0/8', '10.1.1.1']],
  ['remote.ip', ['10.0.0.0/8']],
  ['source.namespace', ['default', 'o*']],
  ['source.principal', ['cluster.local/ns/default/sa/web', '*']],
  ['source.trustDomain', ['cluster.local', 'td', 't*', '*']],
  ['source.serviceAccount', ['default/web', 'web']],
  ['request.auth.principal', ['issuer/sub', '*']],
  ['request.auth.audiences', ['aud1']],
  ['request.auth.presenter', ['me']],
  ['request.auth.claims[group]', ['admin', 'a*']],
  ['request.auth.claims[nested][key]', ['x']],
  ['destination.ip', ['10.1.0.1']],
  ['destination.port', ['80', '8080']],
  ['connection.sni', ['a.com', '*.b.com']],
]

export function authorizationPolicy(draw: Draw): object {
  const nonEmpty = (value: object): object | undefined =>
    Object.values(value).some((v) => v !== undefined) ? value : undefined
  const rules = draw.many(0, 3, () => ({
    from: draw.maybe(0.5, () => {
      const sources = draw.many(1, 2, () => nonEmpty(source(draw))).filter((s) => s)
      return sources.length > 0 ? sources.map((s) => ({ source: s })) : undefined
    }),
    to: draw.maybe(0.5, () => {
      const operations = draw.many(1, 2, () => nonEmpty(operation(draw))).filter((o) => o)
      return operations.length > 0 ? operations.map((o) => ({ operation: o })) : undefined
    }),
    when: draw.maybe(0.3, () =>
      draw.some(CONDITIONS, 1, 2).map(([key, values]) => ({
        key,
        ...draw.either<object>(
          () => ({ values: draw.some(values, 1, 2) }),
          () => ({ notValues: draw.some(values, 1, 2) }),
          () => ({ values: draw.some(values, 1, 1), notValues: draw.some(values, 1, 1) }),
        ),
      })),
    ),
  }))
  const custom = draw.chance(0.1)
  return {
    ...attachment(draw),
    action: custom
      ? 'CUSTOM'
      : rules.length === 0
        ? draw.pick(['ALLOW', undefined])
        : draw.pick(['ALLOW', 'DENY', 'AUDIT', 'ALLOW', undefined]),
    provider: custom ? { name: draw.pick(['authz-http', 'authz-grpc']) } : undefined,
    rules: custom
      ? [{ to: [{ operation: { methods: ['GET'], paths: ['/x*'] } }] }]
      : rules.length === 0
        ? draw.maybe(0.5, () => rules)
        : rules,
  }
}
