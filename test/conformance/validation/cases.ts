// Objects for validation: the specs of bases.yaml, whole and with one thing changed at a time.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { type IstioKind, KINDS } from '../../../src/config/index.ts'

export const RECORDED: string = join(import.meta.dirname, 'recorded.json')
/** Of the cases of random-cases.ts. */
export const RANDOM_RECORDED: string = join(import.meta.dirname, 'random.json')

export interface ValidationCase {
  /** The base and the change: `Gateway http: servers[0].bind = ""`. */
  readonly id: string
  readonly kind: IstioKind | 'MeshConfig'
  readonly object: object
}

/** What is said of a case: `taken`, `warned`, `refused` (by istiod) or `schema` (refused by the CRD), with its text. */
export type Verdict = readonly [outcome: 'taken' | 'warned' | 'refused' | 'schema', text?: string]

/** A spec that istiod takes. */
export interface ValidationBase {
  readonly kind: ValidationCase['kind']
  readonly name: string
  readonly spec: unknown
}

let bases: readonly ValidationBase[] | undefined

export function validationBases(): readonly ValidationBase[] {
  bases ??= readFileSync(join(import.meta.dirname, 'bases.yaml'), 'utf8')
    .split(/^---$/m)
    .map((document) => {
      const [, kind, name] = /^# ([A-Z]\w+) (\w+)$/m.exec(document)!
      return {
        kind: kind as ValidationCase['kind'],
        name: name!,
        spec: parseAllDocuments(document)[0]!.toJS() as unknown,
      }
    })
  return bases
}

export function validationCases(): ValidationCase[] {
  return validationBases().flatMap(({ kind, name, spec }) => {
    const whole = { id: `${kind} ${name}`, kind, object: objectOf(kind, spec) }
    const changed = [...changes(spec, '')].map(([change, value]) => ({
      id: `${kind} ${name}: ${change}`,
      kind,
      object: objectOf(kind, value),
    }))
    return [whole, ...changed]
  })
}

/** A resource with this spec. */
export function objectOf(kind: ValidationCase['kind'], spec: unknown): object {
  if (kind === 'MeshConfig') return { kind, spec }
  const version = KINDS[kind].versions[0]
  return { apiVersion: `${KINDS[kind].group}/${version}`, kind, metadata: { name: 'x', namespace: 'default' }, spec }
}

/** Every value that differs from this one in one place, with the name of the difference. */
function* changes(value: unknown, path: string): Generator<[string, unknown]> {
  for (const [name, other] of instead(value, path.replace(/^.*\.|\[\d+\]$/g, ''))) yield [`${path} ${name}`, other]
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const at = `${path}[${i}]`
      yield [`${at} twice`, value.toSpliced(i, 0, value[i])]
      if (value.length > 1) yield [`${at} away`, value.toSpliced(i, 1)]
      for (const [name, inner] of changes(value[i], at)) yield [name, value.with(i, inner)]
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const key of Object.keys(value)) {
      const at = path === '' ? key : `${path}.${key}`
      const { [key]: own, ...others } = value as Record<string, unknown>
      yield [`${at} away`, others]
      for (const [name, inner] of changes(own, at)) yield [name, { ...value, [key]: inner }]
    }
  }
}

const STRINGS: readonly string[] = [
  '',
  'a_b',
  'A b',
  '*',
  '*.a',
  'a/b',
  'http://a.b/c',
  '1.2.3.4',
  'é',
  'a'.repeat(300),
]
const DURATIONS: readonly string[] = ['0s', '-1s', '1500us', '1ms', '1', '', '100h']
const NUMBERS: readonly number[] = [-1, 0, 1, 1.5, 101, 65535, 65536, 2 ** 32]

/** Words that a field of this name may hold. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  protocol: ['HTTP', 'HTTPS', 'HTTP2', 'GRPC', 'GRPC-WEB', 'TCP', 'TLS', 'UDP', 'MONGO', 'HBONE', 'HTTP_PROXY'],
  mode: [
    ...['PASSTHROUGH', 'SIMPLE', 'MUTUAL', 'AUTO_PASSTHROUGH', 'ISTIO_MUTUAL', 'OPTIONAL_MUTUAL', 'DISABLE'],
    ...['UNSET', 'PERMISSIVE', 'STRICT', 'CLIENT', 'SERVER', 'REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS'],
  ],
  resolution: ['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'],
  location: ['MESH_EXTERNAL', 'MESH_INTERNAL'],
  action: ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM', 'ROUTE', 'ANY'],
  applyTo: [
    ...['LISTENER', 'FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER', 'ROUTE_CONFIGURATION', 'VIRTUAL_HOST'],
    ...['HTTP_ROUTE', 'CLUSTER', 'EXTENSION_CONFIG', 'BOOTSTRAP', 'LISTENER_FILTER'],
  ],
  operation: [
    ...['MERGE', 'ADD', 'REMOVE', 'INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST', 'REPLACE'],
    ...['MERGE_AND_REPLACE_LIST', 'UPSERT'],
  ],
  context: ['ANY', 'SIDECAR_INBOUND', 'SIDECAR_OUTBOUND', 'GATEWAY', 'WAYPOINT'],
  captureMode: ['DEFAULT', 'IPTABLES', 'NONE'],
  kind: ['Service', 'Gateway', 'GatewayClass', 'ServiceEntry', 'Pod'],
  minProtocolVersion: ['TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3'],
  maxProtocolVersion: ['TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3'],
  host: ['*', 'a', 'a.b.svc.cluster.local', '*.b', 'a.b.c.'],
  url: ['oci://a/b', 'http://a/b', 'https://a', 'file:///a', 'a/b:v1', 'ftp://a', 'oci://'],
  jwksUri: ['http://a', 'https://a:1/b', 'https://', 'ftp://a', 'https://a:x', 'a.b/c'],
  key: [
    ...[
      'source.ip',
      'remote.ip',
      'source.namespace',
      'source.principal',
      'request.auth.claims[a]',
      'request.headers[]',
    ],
    ...['request.auth.claims', 'destination.ip', 'destination.port', 'connection.sni', 'destination.labels[a]'],
    ...[
      'experimental.envoy.filters.network.mysql_proxy[db.table]',
      'request.headers[:method]',
      'source.serviceAccount',
    ],
  ],
  address: ['1.2.3.4', 'a.b', '::1', 'unix:///a', 'unix://@a', 'unix://a', '1.2.3.4:80', ''],
  defaultEndpoint: ['127.0.0.1:80', '0.0.0.0:80', '[::1]:80', 'unix:///a', '10.0.0.1:80', '127.0.0.1', 'localhost:80'],
  bind: ['1.2.3.4', '::1', '127.0.0.1', 'unix:///a', '1.2.3.4:80'],
  issuer: ['a', 'https://a'],
  scheme: ['HTTP', 'HTTPS', 'http', 'ftp'],
  phase: ['AUTHN', 'AUTHZ', 'STATS', 'UNSPECIFIED_PHASE', 'UNSPECIFIED'],
  retryOn: ['5xx', '503', 'x', 'gateway-error,connect-failure', ''],
  regex: ['(', '.*', '[a-', 'a{1001}', '(?=a)', '(?P<n>a)'],
}

/** What stands in a value's place. */
export function* instead(value: unknown, name: string): Generator<[string, unknown]> {
  for (const word of Object.hasOwn(WORDS, name) ? WORDS[name]! : []) {
    if (typeof value === 'string' && word !== value) yield [`= word ${JSON.stringify(word)}`, word]
  }
  const plain = (one: unknown): [string, unknown] => [`= ${JSON.stringify(one).slice(0, 20)}`, one]
  if (typeof value === 'string') {
    if (/^[A-Z][A-Z0-9_]+$/.test(value)) yield* ['', 'NONE', value.toLowerCase()].map(plain)
    else if (/^\d+m?[smh]$/.test(value)) yield* DURATIONS.map(plain)
    else yield* STRINGS.filter((one) => one !== value).map(plain)
  } else if (typeof value === 'number') yield* NUMBERS.filter((one) => one !== value).map(plain)
  else if (typeof value === 'boolean') yield plain(!value)
  else if (Array.isArray(value)) yield plain([])
  else if (value === null) yield plain({})
  else {
    yield plain({})
    if (Object.values(value as object).every((one) => typeof one === 'string')) {
      yield ['with "" key', { ...(value as object), '': 'a' }]
      yield ['with "*" key', { ...(value as object), '*': 'a' }]
    }
  }
}
