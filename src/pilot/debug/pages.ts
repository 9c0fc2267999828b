// The debug pages, under istiod's names: what each shows. Who may read them is decided in access.ts.
import type { JsonValue } from '@bufbuild/protobuf'
import { GRPC_STATUS } from '../../base/grpc-status.ts'
import type { Logger } from '../../base/logger.ts'
import type { Store } from '../../cluster/index.ts'
import { meshConfigJson } from '../../config/index.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Client } from '../push/client.ts'
import type { DiscoveryServer } from '../push/discovery-server.ts'
import type { PilotMetrics } from '../push/metrics.ts'
import type { ResourceGenerator } from '../push/resources.ts'
import type { InjectPod } from '../webhook/review.ts'
import type { Reach } from './access.ts'
import { cacheNames, cacheSizes, type ResourceCaches } from './caches.ts'
import { configDump, type DumpInput, dumpJson, typedDump } from './config-dump.ts'
import { injectTemplates } from './injection.ts'
import { authorizationz, instancesz, networkz, pushcontext, sidecarz, telemetryz } from './policies.ts'
import { adsz, connections, findProxy, syncz } from './proxies.ts'
import { clusterz, configz, endpointShardz, krtz, registryz, resourcesz } from './registry.ts'

/** What the pages read. */
export interface DebugSources {
  readonly store: Store
  readonly discovery: DiscoveryServer
  readonly generator: ResourceGenerator
  readonly metrics: PilotMetrics
  readonly caches: ResourceCaches
  readonly log: Logger
  readonly version: string
  /** Refused resources: metric to key to what is wrong. */
  readonly pushStatus: () => JsonValue
  /** Pushes everything to everybody; returns to how many. */
  readonly forcePush: () => number
  /** The page force_disconnect exists (istiod: UNSAFE_ENABLE_ADMIN_ENDPOINTS). */
  readonly unsafeAdmin: boolean
  /** What becomes of a pod; left out: pods are not injected. */
  readonly inject?: InjectPod
}

/** A page's answer: JSON, or text with its status. */
export type Answer =
  | { readonly json: JsonValue }
  | { readonly status: number; readonly type: string; readonly body: string }

interface Page {
  readonly help: string
  readonly show: (query: URLSearchParams, sources: DebugSources, reach: Reach) => Answer
}

export const textAnswer = (status: number, body: string): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body,
})

const PRETTY_INDENT = 4

/** An answer as it is sent: JSON is indented where the query asks for it (`pretty`). */
export function answerText(answer: Answer, query: URLSearchParams): { status: number; type: string; body: string } {
  if (!('json' in answer)) return answer
  const body = JSON.stringify(answer.json, null, query.has('pretty') ? PRETTY_INDENT : undefined)
  return { status: 200, type: 'application/json', body }
}

const NO_PROXY_ID = 'You must provide a proxyID in the query string\n'
const UNKNOWN_PROXY = 'Proxy not connected to this Pilot instance. It may be connected to another instance.\n'

/** The page that changes what proxies have; only where it is asked for ({@link DebugSources.unsafeAdmin}). */
const FORCE_DISCONNECT = 'force_disconnect'

const PAGES: Readonly<Record<string, Page>> = {
  adsz: {
    help: 'connected proxies and what they watch; ?push=true pushes everything to all of them',
    show: (query, { discovery, forcePush }, reach) => {
      if (query.has('push')) return textAnswer(200, `Pushed to ${forcePush()} servers\n`)
      const client = query.has('proxyID') ? proxyOf(query, discovery, reach) : null
      if (client === undefined) return textAnswer(404, UNKNOWN_PROXY)
      return { json: adsz(client === null ? discovery.connected() : [client]) }
    },
  },
  ambientz: {
    help: 'workloads, services and policies of the ambient mode, which has none here',
    show: () => ({ json: { workloads: null, services: null, policies: null } }),
  },
  authorizationz: {
    help: 'authorization policies by namespace',
    show: (_query, sources) => withPush(sources, (push) => ({ json: authorizationz(sources.store, push) })),
  },
  cachez: {
    help: 'the caches of encoded resources: names by type; ?sizes=true bytes instead, ?clear=true empties them',
    show: (query, { caches }) => {
      if (query.get('clear')) {
        for (const cache of Object.values(caches)) cache.clear()
        return textAnswer(200, 'Cache cleared\n')
      }
      return { json: query.get('sizes') ? cacheSizes(caches) : cacheNames(caches) }
    },
  },
  clusterz: {
    help: 'clusters that endpoints are read from',
    show: (_query, { discovery }) => ({ json: clusterz(discovery.pushContext) }),
  },
  config_dump: {
    help: 'what the proxy of ?proxyID= would be sent now, as Envoy prints it; ?include_eds, ?types=cds,rds',
    show: (query, sources, reach) =>
      ofProxy(query, sources, reach, (input) => {
        const types = (query.get('types') ?? '').split(',').filter(Boolean)
        return {
          json: dumpJson(types.length > 0 ? typedDump(types, input) : configDump(input, query.has('include_eds'))),
        }
      }),
  },
  configz: { help: 'resources as they were written', show: (_query, { store }) => ({ json: configz(store) }) },
  connections: {
    help: 'connected proxies',
    show: (_query, { discovery }) => ({ json: connections(discovery.connected()) }),
  },
  [FORCE_DISCONNECT]: {
    help: 'ends the streams of the proxy of ?proxyID=, which then connects anew',
    show: (query, { discovery }, reach) => {
      if (!query.get('proxyID')) return textAnswer(400, NO_PROXY_ID)
      const client = proxyOf(query, discovery, reach)
      if (!client) return textAnswer(404, UNKNOWN_PROXY)
      client.connection.close(GRPC_STATUS.UNAVAILABLE, 'disconnected by force')
      return textAnswer(200, 'OK')
    },
  },
  ecdsz: typedPage('ecds', 'extension configurations of the proxy of ?proxyID='),
  edsz: typedPage('eds', 'endpoints of the proxy of ?proxyID='),
  endpointShardz: {
    help: 'endpoints by service',
    show: (_query, sources) => withPush(sources, (push) => ({ json: endpointShardz(push) })),
  },
  endpointz: {
    help: 'obsolete, use endpointShardz',
    show: (_query, sources) => withPush(sources, (push) => ({ json: endpointShardz(push) })),
  },
  inject: {
    help: 'what injection adds to a pod, by template',
    show: (_query, { inject }) => ({ json: injectTemplates(inject) }),
  },
  instancesz: {
    help: 'service ports that the workload of each connected proxy serves',
    show: (_query, sources) => withPush(sources, (push) => ({ json: instancesz(sources.discovery.connected(), push) })),
  },
  krtz: { help: 'stored objects by kind', show: (_query, { store }) => ({ json: krtz(store) }) },
  list: { help: 'the names of all pages', show: (_query, sources) => ({ json: listedPages(sources) }) },
  mcsz: {
    help: 'services that clusters export to each other (MCS), of which there are none here',
    show: () => ({ json: null }),
  },
  mesh: {
    help: 'MeshConfig in force',
    show: (_query, sources) => withPush(sources, (push) => ({ json: meshConfigJson(push.mesh) as JsonValue })),
  },
  ndsz: typedPage('nds', 'name table of the proxy of ?proxyID='),
  networkz: {
    help: 'gateways between networks',
    show: (_query, sources) => withPush(sources, (push) => ({ json: networkz(push) })),
  },
  push_status: {
    help: 'resources that were refused or have no effect, and why',
    show: (_query, { pushStatus }) => ({ json: pushStatus() }),
  },
  pushcontext: {
    help: 'authorization policies and gateways between networks in force',
    show: (_query, sources) => withPush(sources, (push) => ({ json: pushcontext(sources.store, push) })),
  },
  registryz: {
    help: 'services',
    show: (_query, sources) => withPush(sources, (push) => ({ json: registryz(push) })),
  },
  resourcesz: { help: 'kinds of resources that are read', show: () => ({ json: resourcesz() }) },
  sidecarz: {
    help: 'services and listeners in scope of the proxy of ?proxyID=',
    show: (query, sources, reach) =>
      ofProxy(query, sources, reach, ({ client, push }) => ({ json: sidecarz(client.proxy, push) })),
  },
  syncz: {
    help: 'whether proxies have acknowledged what they were sent; ?namespace=',
    show: (query, { discovery }) => ({ json: syncz(discovery.connected(), query.get('namespace')) }),
  },
  telemetryz: {
    help: 'Telemetry resources by namespace',
    show: (_query, sources) => withPush(sources, (push) => ({ json: telemetryz(sources.store, push) })),
  },
}

/** Sorted. */
function debugPageNames({ unsafeAdmin }: DebugSources): string[] {
  return Object.keys(PAGES)
    .filter((name) => unsafeAdmin || name !== FORCE_DISCONNECT)
    .sort()
}

/** The names that `/debug/list` tells, as istiod's: what a page does on demand stands beside it. */
function listedPages(sources: DebugSources): string[] {
  const onDemand = ['adsz?push=true', 'cachez?clear=true', 'cachez?sizes=true']
  return [...debugPageNames(sources).filter((name) => name !== 'list'), ...onDemand].sort()
}

/** Null: no such page. */
export function debugPage(name: string, query: URLSearchParams, sources: DebugSources, reach: Reach): Answer | null {
  return debugPageNames(sources).includes(name) ? PAGES[name]!.show(query, sources, reach) : null
}

/** The page of all pages. */
export function indexPage(sources: DebugSources): Answer {
  const items = debugPageNames(sources).map(
    (name) => `<li><a href="/debug/${name}">/debug/${name}</a> ${PAGES[name]!.help}</li>`,
  )
  const body = `<!doctype html><title>Pilot debug</title>\n<h1>Pilot debug</h1>\n<ul>\n${items.join('\n')}\n</ul>\n`
  return { status: 200, type: 'text/html; charset=utf-8', body }
}

function typedPage(type: string, help: string): Page {
  return {
    help,
    show: (query, sources, reach) =>
      ofProxy(query, sources, reach, (input) => ({ json: dumpJson(typedDump([type], input)) })),
  }
}

/** A proxy out of reach is as unknown as one that is not there. */
function proxyOf(query: URLSearchParams, discovery: DiscoveryServer, reach: Reach): Client | undefined {
  const client = findProxy(discovery.connected(), query.get('proxyID') ?? '')
  return client && (reach === null || client.proxy.namespace === reach) ? client : undefined
}

function ofProxy(
  query: URLSearchParams,
  sources: DebugSources,
  reach: Reach,
  show: (input: DumpInput) => Answer,
): Answer {
  if (!query.get('proxyID')) return textAnswer(400, NO_PROXY_ID)
  const client = proxyOf(query, sources.discovery, reach)
  if (!client) return textAnswer(404, UNKNOWN_PROXY)
  return withPush(sources, (push) => show({ client, push, generator: sources.generator }))
}

function withPush(sources: DebugSources, page: (push: PushContext) => Answer): Answer {
  const push = sources.discovery.pushContext
  return push ? page(push) : textAnswer(503, 'configuration is still being read\n')
}
