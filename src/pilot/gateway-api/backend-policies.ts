// BackendTLSPolicy and XBackendTrafficPolicy: what they say of a service becomes one DestinationRule for each host.
import {
  type ClientTls,
  type DestinationRule,
  GATEWAY_API_GROUP,
  type GatewayApiResource,
  gatewayApiGroupKind,
  type PolicyTarget,
  type TrafficPolicy,
} from '../../config/index.ts'
import { authorityProblem, NO_CREDENTIAL } from '../model/credential.ts'
import { kubeHostname } from '../model/host.ts'
import type { Service } from '../model/service.ts'
import type { Condition, ObjectStatus, ReferenceStatus } from '../status.ts'
import type { GatewayApiIndex } from './inputs.ts'
import { CONTROLLER, GENERATED, MESH_CONTROLLER, PARENTS } from './names.ts'
import type { Route } from './parents.ts'

type Policy = GatewayApiResource<'BackendTLSPolicy'> | GatewayApiResource<'XBackendTrafficPolicy'>

/** What one policy sets on one target. */
interface Effect {
  readonly policy: Policy
  readonly service: Service
  /** Port by name; undefined: all. */
  readonly port?: number
  readonly tls?: ClientTls
  readonly retryBudget?: TrafficPolicy['retryBudget']
}

export interface ConvertedPolicies {
  readonly rules: readonly DestinationRule[]
  readonly statuses: readonly ObjectStatus[]
  /** Names of ConfigMaps whose authorities every client may read. */
  readonly publicAuthorities: ReadonlySet<string>
}

const IGNORE = 'istio.io/ignore-policy-attachment'
const IGNORED = 'IgnoredByIstio'
const CONFLICTED = 'Conflicted'
const VALID = 'Configuration is valid'

export function convertBackendPolicies(index: GatewayApiIndex): ConvertedPolicies {
  const effects: Effect[] = []
  const statuses: ObjectStatus[] = []
  const publicAuthorities = new Set<string>()
  const gateways = gatewaysByBackend(index)
  // Oldest first: the first one of a target stands.
  const taken = new Map<string, string>()
  for (const policy of index.lists.BackendTLSPolicy) {
    const { tls, conditions } = tlsOf(policy, index)
    if (tls.credentialName?.startsWith('configmap://')) publicAuthorities.add(`${tls.credentialName}-cacert`)
    const judged = policy.spec.targetRefs.map((target) => judge(policy, target, taken, index))
    for (const { services, port } of judged)
      for (const service of services) effects.push({ policy, service, port, tls })
    statuses.push(statusOf(policy, judged, conditions, gateways))
  }
  for (const policy of index.lists.XBackendTrafficPolicy) {
    const retryBudget = retryBudgetOf(policy)
    const judged = policy.spec.targetRefs.map((target) => judge(policy, target, null, index))
    for (const { services } of judged) for (const service of services) effects.push({ policy, service, retryBudget })
    const unsupported = ', but Istio does not support the following fields: sessionPersistence'
    const remark = policy.spec.sessionPersistence ? unsupported : ''
    statuses.push(statusOf(policy, judged, [accepted(remark)], null))
  }
  return { rules: rulesOf(effects), statuses, publicAuthorities }
}

function accepted(remark = ''): Condition {
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: `${VALID}${remark}` }
}

interface Judged {
  readonly target: PolicyTarget
  readonly services: readonly Service[]
  readonly port?: number
  readonly problem?: { readonly reason: string; readonly message: string }
}

/** `taken`: targets that an older policy of the kind has. */
function judge(
  policy: Policy,
  target: PolicyTarget,
  taken: Map<string, string> | null,
  index: GatewayApiIndex,
): Judged {
  const { metadata } = policy
  const { group = '', kind, name, sectionName } = target
  if (metadata.annotations[IGNORE]?.toLowerCase() === 'true') {
    return {
      target,
      services: [],
      problem: { reason: IGNORED, message: `Ignored by Istio due to annotation ${IGNORE}=true` },
    }
  }
  const notFound = (message: string): Judged => ({
    target,
    services: [],
    problem: { reason: 'TargetNotFound', message: `targetRefs invalid: ${message}` },
  })
  const at = `${metadata.namespace}/${name}`
  const services = targetServices(group, kind, metadata.namespace, name, index)
  if (services === null) return notFound(`unsupported kind ${kind}`)
  const [first] = services
  if (!first) return notFound(`reference ${at} (of kind ${kind}) not found`)
  // As in istiod, retry budgets are for Services of Kubernetes only.
  if (policy.kind === 'XBackendTrafficPolicy' && kind !== 'Service')
    return notFound(`unsupported reference kind: ${kind}`)
  const port = sectionName ? first.ports.find((one) => one.name === sectionName)?.port : undefined
  if (sectionName && port === undefined) {
    return notFound(`sectionName ${JSON.stringify(sectionName)} does not exist in ${kind} ${at}`)
  }
  const key = `${metadata.namespace}/${group}/${kind}/${name}/${sectionName ?? ''}`
  const older = taken?.get(key)
  if (older !== undefined && older !== metadata.name) {
    const message = `Conflicts with ${policy.kind} ${JSON.stringify(older)} targeting the same backend`
    return { target, services: [], problem: { reason: CONFLICTED, message } }
  }
  taken?.set(key, metadata.name)
  return { target, services, port }
}

function targetServices(
  group: string,
  kind: string,
  namespace: string,
  name: string,
  index: GatewayApiIndex,
): readonly Service[] | null {
  if (group === '' && kind === 'Service') {
    const service = index.kubeService(kubeHostname(name, namespace, index.domain), namespace)
    return service ? [service] : []
  }
  return group === 'networking.istio.io' && kind === 'ServiceEntry' ? index.servicesOfEntry(namespace, name) : null
}

function tlsOf(
  { metadata, spec }: GatewayApiResource<'BackendTLSPolicy'>,
  index: GatewayApiIndex,
): { tls: ClientTls; conditions: Condition[] } {
  const { hostname, subjectAltNames, wellKnownCACertificates, caCertificateRefs = [] } = spec.validation
  const names = subjectAltNames?.flatMap(({ type, hostname: host, uri }) => (type === 'URI' ? uri : host) ?? [])
  // Without names of its own the certificate must be for the hostname, as the Gateway API demands.
  const tls = { mode: 'SIMPLE' as const, sni: hostname, subjectAltNames: names?.length ? names : [hostname] }
  const resolved: Condition = {
    type: 'ResolvedRefs',
    status: 'True',
    reason: 'ResolvedRefs',
    message: VALID,
  }
  const refuse = (reason: string, what: string, detail: string) => ({
    tls: { ...tls, credentialName: NO_CREDENTIAL },
    conditions: [
      {
        type: 'Accepted',
        status: 'False' as const,
        reason: 'NoValidCACertificate',
        message: `Certificate reference invalid: ${detail}`,
      },
      { ...resolved, status: 'False' as const, reason, message: `${what}: ${detail}` },
    ],
  })
  if (wellKnownCACertificates) {
    if (wellKnownCACertificates === 'System') return { tls, conditions: [accepted(), resolved] }
    const message = `Unknown wellKnownCACertificates: ${wellKnownCACertificates}`
    return {
      tls: { ...tls, credentialName: NO_CREDENTIAL },
      conditions: [{ type: 'Accepted', status: 'False', reason: 'Invalid', message }, resolved],
    }
  }
  const [reference] = caCertificateRefs
  if (!reference) return { tls, conditions: [accepted(), resolved] }
  const { group = '', kind, name } = reference
  const known = group === '' && (kind === 'ConfigMap' || kind === 'Secret')
  if (!known) return refuse('InvalidKind', 'Certificate reference not supported', `unsupported kind ${kind}`)
  const object = index.credential(kind, metadata.namespace, name)
  if (!object) {
    const detail = `reference ${metadata.namespace}/${name} (of kind ${kind}) not found`
    return refuse('InvalidCACertificateRef', 'Certificate reference not found', detail)
  }
  if (kind === 'Secret') {
    return refuse('InvalidKind', 'Certificate reference invalid', `unsupported reference kind: ${kind}`)
  }
  const problem = authorityProblem(object)
  if (problem) return refuse('InvalidCACertificateRef', 'Certificate invalid', problem)
  const remark = caCertificateRefs.length > 1 ? '; warning: only the first caCertificateRefs will be used' : ''
  return {
    tls: { ...tls, credentialName: `configmap://${metadata.namespace}/${name}` },
    conditions: [accepted(remark), resolved],
  }
}

/** Defaults are the Gateway API's. */
function retryBudgetOf({ spec }: GatewayApiResource<'XBackendTrafficPolicy'>): TrafficPolicy['retryBudget'] {
  const { retryConstraint } = spec
  if (!retryConstraint) return undefined
  const { budget, minRetryRate } = retryConstraint
  return {
    ...(budget?.percent === undefined ? {} : { percent: budget.percent }),
    budgetInterval: budget?.interval ?? 10_000,
    minRetryConcurrency: minRetryRate?.count ?? 10,
  }
}

/** Keys `Kind/namespace/name` of backends to the Gateways whose routes lead there. */
type GatewaysByBackend = ReadonlyMap<string, ReadonlySet<string>>

function gatewaysByBackend({ lists }: GatewayApiIndex): GatewaysByBackend {
  const out = new Map<string, Set<string>>()
  const routes: readonly Route[] = [...lists.HTTPRoute, ...lists.GRPCRoute, ...lists.TCPRoute, ...lists.TLSRoute]
  for (const { metadata, spec } of routes) {
    const gateways = (spec.parentRefs ?? [])
      .filter(({ group = GATEWAY_API_GROUP, kind = 'Gateway' }) => group === GATEWAY_API_GROUP && kind === 'Gateway')
      .map(({ name, namespace = metadata.namespace }) => `${namespace}/${name}`)
    if (gateways.length === 0) continue
    for (const rule of spec.rules ?? []) {
      for (const { kind = 'Service', namespace = metadata.namespace, name } of rule.backendRefs ?? []) {
        const key = `${kind}/${namespace}/${name}`
        let set = out.get(key)
        if (!set) out.set(key, (set = new Set()))
        for (const gateway of gateways) set.add(gateway)
      }
    }
  }
  return out
}

/** An entry for each target, as the mesh's, and one for each Gateway that leads there. */
function statusOf(
  policy: Policy,
  judged: readonly Judged[],
  conditions: readonly Condition[],
  gateways: GatewaysByBackend | null,
): ObjectStatus {
  const { namespace, name } = policy.metadata
  const entries: ReferenceStatus[] = []
  const behind = new Map<string, readonly Condition[]>()
  for (const { target, problem } of judged) {
    const own = problem
      ? [
          { type: 'Accepted', status: 'False' as const, ...problem },
          ...conditions.filter(({ type }) => type !== 'Accepted' && problem.reason !== IGNORED),
        ]
      : conditions
    entries.push({
      reference: { group: '', ...target },
      controllerName: MESH_CONTROLLER,
      conditions: own,
    })
    if (problem && problem.reason !== CONFLICTED) continue
    for (const gateway of gateways?.get(`${target.kind}/${namespace}/${target.name}`) ?? []) behind.set(gateway, own)
  }
  for (const [gateway, own] of [...behind].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [gatewayNamespace, gatewayName] = gateway.split('/') as [string, string]
    const elsewhere = gatewayNamespace === namespace ? {} : { namespace: gatewayNamespace }
    entries.push({
      reference: { group: GATEWAY_API_GROUP, kind: 'Gateway', name: gatewayName, ...elsewhere },
      controllerName: CONTROLLER,
      conditions: own,
    })
  }
  return {
    kind: gatewayApiGroupKind(policy.kind),
    namespace,
    name,
    status: { shape: 'references', list: 'ancestors', entries },
  }
}

function rulesOf(effects: readonly Effect[]): DestinationRule[] {
  const byService = Map.groupBy(effects, ({ service }) => service)
  return [...byService].map(([service, own]) => {
    const [{ policy: first }] = own as [Effect]
    const general = own.filter(({ port }) => port === undefined)
    const tls = general.find((effect) => effect.tls)?.tls
    const retryBudget = general.find((effect) => effect.retryBudget)?.retryBudget
    const ports = new Map<number, ClientTls>()
    for (const { port, tls: atPort } of own)
      if (port !== undefined && atPort && !ports.has(port)) ports.set(port, atPort)
    const parents = new Set(
      own.map(({ policy: { kind, metadata } }) => `${kind}/${metadata.namespace}.${metadata.name}`),
    )
    const { namespace } = first.metadata
    return {
      kind: 'DestinationRule',
      apiVersion: 'networking.istio.io/v1',
      metadata: {
        ...first.metadata,
        name: ruleName(service),
        namespace,
        // As in istiod older than every DestinationRule that was written.
        creationMs: 0,
        labels: {},
        annotations: { [PARENTS]: [...parents].join(',') },
      },
      spec: {
        host: service.hostname,
        trafficPolicy: {
          ...(tls ? { tls } : {}),
          ...(retryBudget ? { retryBudget } : {}),
          ...(ports.size > 0
            ? { portLevelSettings: [...ports].map(([number, atPort]) => ({ port: { number }, tls: atPort })) }
            : {}),
        },
      },
      origin: first.origin,
      warnings: [],
    }
  })
}

function ruleName({ hostname, attributes }: Service): string {
  const { registry, resourceName } = attributes
  const host = registry === 'External' ? `${hostname.replaceAll('.', '-')}~` : ''
  return `${resourceName}~${host}${GENERATED}`
}
