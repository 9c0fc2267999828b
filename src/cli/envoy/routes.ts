// proxy-config route, and how routes are described in listener tables.

import { UserError } from '../../base/errors.ts'
import { tabulate } from '../tab-writer.ts'
import type { ConfigDump, Dumped, Json } from './config-dump.ts'
import { goSort } from './go-sort.ts'
import { list, managedBy, object, string, strings } from './json.ts'

/** Route configurations: by number where names are numbers. Throws UserError without any. */
export function routes(dump: ConfigDump, name: string): Dumped[] {
  const all = [
    ...dump.list('RoutesConfigDump', 'dynamic_route_configs', 'route_config'),
    ...dump.list('RoutesConfigDump', 'static_route_configs', 'route_config'),
  ]
  if (all.length === 0) throw new UserError('no routes found')
  const numbered = (route: Dumped) => /^\d+$/.test(string(route.value, 'name'))
  const sorted = goSort(all, (a, b) => numbered(a) && numbered(b) && Number(a.value.name) < Number(b.value.name))
  return sorted.filter((route) => !name || string(route.value, 'name') === name)
}

/** `named`: the names are `route/NAME`, for the table of everything. */
export function routeTable(configs: readonly Dumped[], verbose: boolean, named = false): string {
  const nameOf = (value: Json) => `${named ? 'route/' : ''}${string(value, 'name')}`
  if (!verbose) {
    const rows = configs.map(({ value }) => [nameOf(value), String(list(value, 'virtual_hosts').length)])
    return tabulate([['NAME', 'VIRTUAL HOSTS'], ...rows], 5)
  }
  const rows = [['NAME', 'VHOST NAME', 'DOMAINS', 'MATCH', 'VIRTUAL SERVICE']]
  for (const { value } of configs) {
    for (const host of list(value, 'virtual_hosts')) {
      const start = [nameOf(value), string(host, 'name'), domains(strings(host, 'domains'))]
      const all = list(host, 'routes')
      if (all.length === 0) rows.push([...start, '/*', '404'])
      for (const route of all) {
        if (string(object(route, 'route'), 'cluster') === 'PassthroughCluster') continue
        rows.push([...start, matchText(object(route, 'match')), managedBy(object(route, 'metadata'))])
      }
    }
  }
  return tabulate(rows, 5)
}

const SHOWN_DOMAINS = 2

/** Domains without a port and without a long form of a shorter one; the first two. */
function domains(all: readonly string[]): string {
  if (all.length <= 1) return all[0] ?? ''
  const withoutPort = all.filter((domain) => {
    const colons = domain.split(':').length - 1
    return colons === 0 || (colons > 2 && domain.endsWith(']'))
  })
  const known = new Set(withoutPort)
  const shown = withoutPort.filter(
    (domain) => !longFormOf(domain, '.svc.cluster.local', known) && !longFormOf(domain, '.svc', known),
  )
  if (shown.length <= SHOWN_DOMAINS) return shown.join(', ')
  return `${shown.slice(0, SHOWN_DOMAINS).join(', ')} + ${shown.length - SHOWN_DOMAINS} more...`
}

function longFormOf(domain: string, suffix: string, known: ReadonlySet<string>): boolean {
  return domain.endsWith(suffix) && known.has(domain.slice(0, -suffix.length))
}

/** `/x*`, `PathPrefix:/x`, `/x`, `regex R`; headers are not shown. */
function matchText(match: Json | undefined): string {
  const parts: string[] = []
  const prefix = string(match, 'prefix')
  if (prefix) parts.push(`${prefix}*`)
  const separated = string(match, 'path_separated_prefix')
  if (separated) parts.push(`PathPrefix:${separated}`)
  const path = string(match, 'path')
  if (path) parts.push(path)
  const regex = object(match, 'safe_regex')
  if (regex) parts.push(`regex ${string(regex, 'regex')}`)
  return parts.join(' ')
}

/** An inline route configuration in a listener's DESTINATION: its only cluster, or its virtual hosts. */
export function inlineRouteText(config: Json): string {
  const hosts = list(config, 'virtual_hosts')
  const only = hosts.length === 1 ? matchAllCluster(hosts[0]!) : ''
  if (only) return clusterText(only)
  const texts = hosts.map((host) => {
    const names = strings(host, 'domains')
    const matches = list(host, 'routes')
      .map((route) => matchText(object(route, 'match')))
      .join(', ')
    return names.length === 1 && names[0] === '*' ? matches : `${names.join('/')} ${matches}`
  })
  return `Inline Route: ${texts.join('; ')}`
}

function matchAllCluster(host: Json): string {
  const names = strings(host, 'domains')
  const all = list(host, 'routes')
  if (names.length !== 1 || names[0] !== '*' || all.length !== 1) return ''
  if (string(object(all[0], 'match'), 'prefix') !== '/') return ''
  return string(object(all[0], 'route'), 'cluster')
}

/** `Cluster: x`; the built-in clusters stand for themselves. */
export function clusterText(name: string): string {
  return name.includes('Cluster') ? name : `Cluster: ${name}`
}
