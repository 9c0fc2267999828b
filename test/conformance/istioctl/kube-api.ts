// A Kubernetes API that istioctl can be run against: it serves given objects for reading, and leads port forwards to
// connections that the caller opens. What istioctl prints over it is what it would print over a cluster of that state.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { groupOf, type KubeObject } from '../../../src/cluster/index.ts'
import { DEFINITIONS, SERVED_TYPES, type ServedType } from './kube-types.ts'
import { servePortForward } from './port-forward.ts'

/** What stands behind the API. */
export interface KubeSources {
  /** Every object; asked anew for each request. */
  objects(): readonly KubeObject[] | Promise<readonly KubeObject[]>
  /** A connection to a port of a pod; left out: port forwards are refused. */
  connect?(pod: PodName, port: number): Duplex
  /** The log of a container. */
  log?(pod: PodName, container: string): Promise<string>
  /** A token for a service account. */
  token?(namespace: string, name: string): Promise<string>
}

export interface PodName {
  readonly namespace: string
  readonly name: string
}

type Json = (value: unknown, status?: number) => void

export class KubeApi {
  private readonly sources: KubeSources
  private readonly server: Server

  private constructor(sources: KubeSources) {
    this.sources = sources
    this.server = createServer((request, response) => {
      this.serve(request, response).catch((error: Error) => {
        if (!response.headersSent) response.writeHead(500, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message: error.message }))
      })
    })
    this.server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head))
  }

  static async start(sources: KubeSources): Promise<KubeApi> {
    const api = new KubeApi(sources)
    await new Promise<void>((resolve) => api.server.listen(0, '127.0.0.1', resolve))
    return api
  }

  /** A kubeconfig that leads here. */
  kubeconfig(): string {
    const { port } = this.server.address() as AddressInfo
    const named = { name: 'recording' }
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ ...named, cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [{ ...named, user: {} }],
      contexts: [{ ...named, context: { cluster: 'recording', user: 'recording' } }],
      'current-context': 'recording',
    })
  }

  close(): void {
    this.server.close()
    this.server.closeAllConnections()
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const match = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/portforward\b/.exec(request.url ?? '')
    const { connect } = this.sources
    if (!match || !connect || request.headers.upgrade !== 'SPDY/3.1') {
      socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
      return
    }
    const pod = { namespace: match[1]!, name: match[2]! }
    servePortForward(socket, head, (port) => connect(pod, port))
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://kube')
    const json: Json = (value, status = 200) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    }
    const discovered = discovery(url.pathname)
    if (discovered) return json(discovered)
    const [first, ...parts] = url.pathname.split('/').filter(Boolean)
    const group = first === 'api' ? '' : (parts.shift() ?? '')
    const version = parts.shift() ?? ''
    if (request.method === 'POST') return json(await this.create(group, parts, await textOf(request)), 201)
    const namespace = parts[0] === 'namespaces' && parts.length > 2 ? parts[1] : undefined
    const [plural, name, part] = namespace === undefined ? parts : parts.slice(2)
    const served = SERVED_TYPES.find(
      (one) => one.group === group && one.plural === plural && one.versions.includes(version),
    )
    if (!served) return json(notFound(plural ?? '', url.pathname), 404)
    if (part === 'log') {
      const text = await this.sources.log?.({ namespace: namespace!, name: name! }, url.searchParams.get('container')!)
      response.writeHead(200, { 'content-type': 'text/plain' }).end(text ?? '')
      return
    }
    const metadataOnly = request.headers.accept?.includes('PartialObjectMetadata') ?? false
    const as = metadataOnly ? 'PartialObjectMetadata' : served.kind
    const apiVersion = metadataOnly ? 'meta.k8s.io/v1' : group ? `${group}/${version}` : version
    const list = (await this.all(served))
      .filter((object) => namespace === undefined || object.metadata.namespace === namespace)
      .filter((object) => selected(object, url.searchParams))
      .map((object) => shaped(object, apiVersion, as, metadataOnly))
    if (name !== undefined) {
      const found = list.find((object) => object.metadata.name === name)
      return found ? json(found) : json(notFound(served.plural, name), 404)
    }
    if (url.searchParams.has('watch')) return watch(response, list, apiVersion, as, url.searchParams)
    json({ kind: `${as}List`, apiVersion, metadata: { resourceVersion: '9' }, items: list })
  }

  private async all({ group, kind }: ServedType): Promise<KubeObject[]> {
    const objects = await this.sources.objects()
    const own = objects.filter((object) => object.kind === kind && groupOf(object.apiVersion) === group)
    if (kind !== 'CustomResourceDefinition') return own
    const named = new Set(own.map(({ metadata }) => metadata.name))
    return [...DEFINITIONS.filter(({ metadata }) => !named.has(metadata.name)), ...own]
  }

  /** Reviews of access, which is always given, and tokens; nothing else is created. */
  private async create(group: string, parts: readonly string[], body: string): Promise<unknown> {
    const object = JSON.parse(body) as KubeObject
    if (group === 'authorization.k8s.io') return { ...object, status: { allowed: true } }
    if (parts.at(-1) === 'token') {
      const token = await this.sources.token?.(parts[1]!, parts[3]!)
      return { ...object, status: { token: token ?? '', expirationTimestamp: '2100-01-01T00:00:00Z' } }
    }
    throw new Error(`${parts.join('/')}: this API is for reading`)
  }
}

function discovery(path: string): unknown {
  const groups = [...new Set(SERVED_TYPES.map(({ group }) => group))]
  const versionsOf = (group: string) => [
    ...new Set(SERVED_TYPES.filter((one) => one.group === group).flatMap(({ versions }) => versions)),
  ]
  const groupVersion = (group: string, version: string) => ({
    groupVersion: group ? `${group}/${version}` : version,
    version,
  })
  if (path === '/version') return { major: '1', minor: '35', gitVersion: 'v1.35.0', platform: 'linux/amd64' }
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'] }
  if (path === '/apis') {
    const named = groups.filter(Boolean).map((name) => {
      const versions = versionsOf(name).map((version) => groupVersion(name, version))
      return { name, versions, preferredVersion: versions[0] }
    })
    return { kind: 'APIGroupList', apiVersion: 'v1', groups: named }
  }
  const match = /^\/(?:api|apis\/([^/]+))\/([^/]+)$/.exec(path)
  if (!match) return undefined
  const [, group = '', version = ''] = match
  const resources = SERVED_TYPES.filter((one) => one.group === group && one.versions.includes(version)).map(
    ({ plural, kind, namespaced, shortNames }) => ({
      name: plural,
      shortNames,
      singularName: kind.toLowerCase(),
      kind,
      namespaced,
      verbs: ['get', 'list', 'watch'],
    }),
  )
  return { kind: 'APIResourceList', apiVersion: 'v1', ...groupVersion(group, version), resources }
}

function notFound(plural: string, name: string): unknown {
  const message = `${plural} "${name}" not found`
  return {
    kind: 'Status',
    apiVersion: 'v1',
    status: 'Failure',
    reason: 'NotFound',
    code: 404,
    message,
    details: { name, kind: plural },
  }
}

/** With what a server adds to an object, so that caches take it. */
function shaped(object: KubeObject, apiVersion: string, kind: string, metadataOnly: boolean): KubeObject {
  const { name, namespace = '' } = object.metadata
  const metadata = {
    creationTimestamp: '2026-01-01T00:00:00Z',
    resourceVersion: '1',
    uid: `${object.kind}-${namespace}-${name}`,
    ...object.metadata,
  }
  return metadataOnly ? { apiVersion, kind, metadata } : { ...object, apiVersion, kind, metadata }
}

function selected(object: KubeObject, query: URLSearchParams): boolean {
  const field = (path: string): string => {
    let value: unknown = object
    for (const key of path.split('.')) value = (value as Readonly<Record<string, unknown>> | undefined)?.[key]
    return String(value ?? '')
  }
  const terms = (name: string) => (query.get(name) ?? '').split(',').filter(Boolean)
  const holds = (term: string, read: (key: string) => string | undefined): boolean => {
    const [, not = '', key = '', operator, wanted] = /^(!?)(.*?)(?:(!=|==?)(.*))?$/.exec(term)!
    const value = read(key)
    if (operator === undefined) return (value === undefined) === (not === '!')
    return (value === wanted) === (operator !== '!=')
  }
  return (
    terms('fieldSelector').every((term) => holds(term, field)) &&
    terms('labelSelector').every((term) => holds(term, (key) => object.metadata.labels?.[key]))
  )
}

/** The objects as they are, then silence: nothing changes here. */
function watch(
  response: ServerResponse,
  list: readonly KubeObject[],
  apiVersion: string,
  kind: string,
  query: URLSearchParams,
): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.flushHeaders()
  if (query.get('sendInitialEvents') !== 'true') return
  for (const object of list) response.write(`${JSON.stringify({ type: 'ADDED', object })}\n`)
  const metadata = { resourceVersion: '9', annotations: { 'k8s.io/initial-events-end': 'true' } }
  response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { apiVersion, kind, metadata } })}\n`)
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}
