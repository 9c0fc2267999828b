// The list of admin pages, and the rules that hold for all of them.

import { clusters, listeners } from './cluster-status.ts'
import { configDump } from './config-dump.ts'
import { drainListeners, healthCheckFail, healthCheckOk, quitQuitQuit, reopenLogs } from './lifecycle.ts'
import { logging } from './logging.ts'
import { type AdminRequest, type AdminResponse, text } from './response.ts'
import {
  certs,
  contention,
  hotRestartVersion,
  initDump,
  memory,
  modifyRuntime,
  ready,
  runtime,
  serverInfo,
} from './server-page.ts'
import type { AdminSource } from './source.ts'
import { prometheus, resetCounters, stats } from './stats-page.ts'

type Handler = (request: AdminRequest, source: AdminSource) => AdminResponse | Promise<AdminResponse>

interface Page {
  readonly path: string
  readonly help: string
  readonly handle: Handler
  /** Changes something, so only POST. */
  readonly post?: true
  readonly parameters?: Readonly<Record<string, string>>
}

const STATS_PARAMETERS = {
  usedonly: 'Only include stats that have been written by system since restart',
  filter: 'Regular expression (Google re2) for filtering stats',
  invert_filter: 'Invert the filter regex',
}

/** By path, as /help lists them. */
const PAGES: readonly Page[] = [
  { path: '/', help: 'Admin home page', handle: home },
  { path: '/certs', help: 'print certs on machine', handle: certs },
  {
    path: '/clusters',
    help: 'upstream cluster status',
    handle: clusters,
    parameters: { filter: 'Regular expression (Google re2) for filtering clusters by name' },
  },
  { path: '/contention', help: 'dump current Envoy mutex contention stats (if enabled)', handle: contention },
  {
    path: '/config_dump',
    help: 'dump current configs',
    handle: configDump,
    parameters: {
      resource: 'The repeated field to dump, for example dynamic_listeners',
      mask: 'FieldMask of what to print; with resource it applies to each element',
      name_regex: 'Dump only the configurations whose names match this regular expression (Google re2)',
      include_eds: 'Dump endpoints too',
    },
  },
  {
    path: '/drain_listeners',
    help: 'drain listeners',
    handle: drainListeners,
    post: true,
    parameters: {
      graceful: 'Drain for the drain time before closing listeners',
      skip_exit: 'Drain connections but never stop the listeners',
      inboundonly: 'Only listeners whose traffic_direction is INBOUND',
    },
  },
  { path: '/healthcheck/fail', help: 'cause the server to fail health checks', handle: healthCheckFail, post: true },
  { path: '/healthcheck/ok', help: 'cause the server to pass health checks', handle: healthCheckOk, post: true },
  { path: '/help', help: 'print out list of admin commands', handle: () => text(help()) },
  { path: '/hot_restart_version', help: 'print the hot restart compatibility version', handle: hotRestartVersion },
  {
    path: '/init_dump',
    help: 'dump init targets that are not ready',
    handle: initDump,
    parameters: { mask: 'Kind of component, for example listener' },
  },
  {
    path: '/listeners',
    help: 'print listener info',
    handle: listeners,
    parameters: { format: 'File format to use; One of (text, json)' },
  },
  {
    path: '/logging',
    help: 'query/change logging levels',
    handle: logging,
    post: true,
    parameters: {
      paths: 'Change several levels: <name1>:<level1>,<name2>:<level2>',
      level:
        "desired logging level, changes all loggers' level; One of (, trace, debug, info, warning, error, critical, off)",
    },
  },
  { path: '/memory', help: 'print current allocation/heap usage', handle: memory },
  { path: '/quitquitquit', help: 'exit the server', handle: quitQuitQuit, post: true },
  { path: '/ready', help: 'print server state, return 200 if LIVE, otherwise return 503', handle: ready },
  { path: '/reopen_logs', help: 'reopen access logs', handle: reopenLogs, post: true },
  { path: '/reset_counters', help: 'reset all counters to zero', handle: resetCounters, post: true },
  { path: '/runtime', help: 'print runtime values', handle: runtime },
  {
    path: '/runtime_modify',
    help: 'Adds or modifies runtime values as passed in query parameters; an empty value deletes what was added here',
    handle: modifyRuntime,
    post: true,
  },
  { path: '/server_info', help: 'print server version/status information', handle: serverInfo },
  {
    path: '/stats',
    help: 'print server stats',
    handle: stats,
    parameters: {
      ...STATS_PARAMETERS,
      format: 'Format to use; One of (html, active-html, text, json, prometheus)',
      type: 'Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)',
      histogram_buckets: 'Histogram bucket display mode; One of (cumulative, disjoint, detailed, summary)',
    },
  },
  {
    path: '/stats/prometheus',
    help: 'print server stats in prometheus format',
    handle: prometheus,
    parameters: {
      ...STATS_PARAMETERS,
      text_readouts: 'Render text_readouts as new gauges with value 0 (increases Prometheus data size)',
      histogram_buckets: 'Histogram bucket display mode; One of (cumulative, summary)',
    },
  },
]

const BY_PATH = new Map(PAGES.map((page) => [page.path, page]))

/** A path that allow_paths admits; null = every path. */
export type PathFilter = ((path: string) => boolean) | null

/** Answers one admin request. `target` is the request target with its query. */
export async function handleAdmin(
  method: string,
  target: string,
  source: AdminSource,
  allowed: PathFilter = null,
): Promise<AdminResponse> {
  const question = target.indexOf('?')
  const path = question < 0 ? target : target.slice(0, question)
  if (allowed && !allowed(path)) return text(`request to path ${path} not allowed`, 403)
  const page = BY_PATH.get(path)
  if (!page) return text(`invalid path. ${help()}`, 404)
  if (page.post && method !== 'POST') return text(`Method ${method} not allowed, POST required.`, 405)
  const query = new URLSearchParams(question < 0 ? '' : target.slice(question + 1))
  return page.handle({ method, path, query }, source)
}

function help(): string {
  let out = 'admin commands are:\n'
  for (const page of PAGES) {
    out += `  ${page.path}${page.post ? ' (POST)' : ''}: ${page.help}\n`
    for (const [name, meaning] of Object.entries(page.parameters ?? {})) out += `      ${name}: ${meaning}\n`
  }
  return out
}

function home(): AdminResponse {
  const rows = PAGES.filter((page) => page.path !== '/').map((page) =>
    page.post
      ? `<tr><td><form method="post" action="${page.path.slice(1)}"><button>${page.path.slice(1)}</button></form></td><td>${page.help}</td></tr>`
      : `<tr><td><a href="${page.path.slice(1)}">${page.path.slice(1)}</a></td><td>${page.help}</td></tr>`,
  )
  const body = `<!DOCTYPE html>\n<html lang="en"><head><title>Envoy Admin</title></head><body>\n<table>\n${rows.join('\n')}\n</table>\n</body></html>\n`
  return { status: 200, contentType: 'text/html; charset=UTF-8', body }
}
