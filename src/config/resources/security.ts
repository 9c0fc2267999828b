import { bool, type Infer, list, map, message, oneOfNames, positiveDuration, required, string } from '../schema.ts'
import { policySelector, targetReference, targetReferences } from './common.ts'

const mutualTls = message({ mode: oneOfNames('UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT') })
export type MutualTlsMode = 'UNSET' | 'DISABLE' | 'PERMISSIVE' | 'STRICT'

export const peerAuthentication = message({
  selector: policySelector,
  mtls: mutualTls,
  portLevelMtls: map(mutualTls, { min: 1 }),
})
export type PeerAuthenticationSpec = Infer<typeof peerAuthentication>

const nonEmpty = string({ minLength: 1 })
const jwtRule = message(
  {
    issuer: nonEmpty,
    audiences: list(nonEmpty),
    jwksUri: string({ minLength: 1, maxLength: 2048 }),
    jwks: string(),
    fromHeaders: list(message({ name: required(nonEmpty), prefix: string() })),
    fromParams: list(nonEmpty),
    fromCookies: list(nonEmpty),
    outputPayloadToHeader: string(),
    forwardOriginalToken: bool,
    outputClaimToHeaders: list(
      message({
        header: required(string({ minLength: 1, pattern: /^[-_A-Za-z0-9]+$/ })),
        claim: required(nonEmpty),
      }),
    ),
    timeout: positiveDuration,
    spaceDelimitedClaims: list(nonEmpty),
  },
  { aliases: { jwks_uri: 'jwksUri' } },
)
export type JwtRule = Infer<typeof jwtRule>

const targets = { selector: policySelector, targetRef: targetReference, targetRefs: targetReferences }

export const requestAuthentication = message({ ...targets, jwtRules: list(jwtRule, { max: 4096 }) })
export type RequestAuthenticationSpec = Infer<typeof requestAuthentication>

const strings = list(string())
const source = message({
  principals: strings,
  notPrincipals: strings,
  requestPrincipals: strings,
  notRequestPrincipals: strings,
  namespaces: strings,
  notNamespaces: strings,
  serviceAccounts: list(string({ maxLength: 320 }), { max: 16 }),
  notServiceAccounts: list(string({ maxLength: 320 }), { max: 16 }),
  trustDomains: strings,
  notTrustDomains: strings,
  ipBlocks: strings,
  notIpBlocks: strings,
  remoteIpBlocks: strings,
  notRemoteIpBlocks: strings,
})
export type AuthorizationSource = Infer<typeof source>

const operation = message({
  hosts: strings,
  notHosts: strings,
  ports: strings,
  notPorts: strings,
  methods: strings,
  notMethods: strings,
  paths: strings,
  notPaths: strings,
})
export type AuthorizationOperation = Infer<typeof operation>

const condition = message({ key: required(string()), values: strings, notValues: strings })
export type AuthorizationCondition = Infer<typeof condition>

const rule = message({
  from: list(message({ source }), { max: 512 }),
  to: list(message({ operation })),
  when: list(condition),
})
export type AuthorizationRule = Infer<typeof rule>

export const authorizationPolicy = message({
  ...targets,
  rules: list(rule, { max: 512 }),
  action: oneOfNames('ALLOW', 'DENY', 'AUDIT', 'CUSTOM'),
  provider: message({ name: string() }),
})
export type AuthorizationPolicySpec = Infer<typeof authorizationPolicy>
