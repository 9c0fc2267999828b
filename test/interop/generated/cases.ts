// Chosen requests beside real Envoy, compared as the generated ones are: what the client gets, what the upstreams get, the
// access log and every counter. For what depends on the protocol of the client or of the upstream.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { envoyBinary } from '../harness/proxies.ts'
import { HTTP1 } from './http1-traffic.ts'
import { type Field, type Http2Request, SESSIONS, type Session } from './http2-session.ts'
import { type BatchResult, type Entry, type Observation, Pair, same, type Traffic } from './pair.ts'
import { describeObservation, narrow } from './search.ts'

export interface Case {
  readonly name: string
  /** HTTP filters before the router. */
  readonly filters?: readonly object[]
  /** Fields of the only route action; the cluster is `up` (HTTP/1) unless it names another. */
  readonly route?: object
  /** Fields of the route. */
  readonly routeEntry?: object
  /** Fields of the route configuration. */
  readonly routeConfig?: object
  /** Fields of the listener. */
  readonly listener?: object
  /** Fields of the connection manager. */
  readonly manager?: object
  /**
   * Bytes of an HTTP/1 connection, with `x-case: ID` in each head, or the requests of an HTTP/2 one. HTTP/1 requests in a
   * list are sent one after another, each when the one before has its answer.
   */
  readonly client: string | readonly string[] | readonly Http2Request[]
}

const T = 'type.googleapis.com/envoy.extensions.filters.http.'
const SKIP = envoyBinary() ? false : 'real Envoy is not installed'
/** A filter by its short name, the message and its fields. */
export function filter(name: string, message: string, fields: object = {}): object {
  return { name: `envoy.filters.http.${name}`, typed_config: { '@type': `${T}${name}.v3.${message}`, ...fields } }
}

/** A well-formed HTTP/2 request for `/a` unless the fields say otherwise; `body`: its DATA frames. */
export function http2(
  fields: Readonly<Record<string, string>>,
  body: readonly string[] | null = null,
  trailers: readonly Field[] | null = null,
): Http2Request {
  const all = { ':method': body ? 'POST' : 'GET', ':scheme': 'http', ':authority': 'a', ':path': '/a', ...fields }
  return {
    fields: Object.entries(all),
    body,
    trailers,
    pieces: 1,
    padded: false,
    prioritised: false,
    reset: null,
    stalled: false,
  }
}

/** The same as HTTP/1 bytes: a body of several parts is chunked. */
export function http1(fields: Readonly<Record<string, string>>, body: readonly string[] | null = null): string {
  const { ':method': method = body ? 'POST' : 'GET', ':path': path = '/a', ...headers } = fields
  const lines = [`${method} ${path} HTTP/1.1`, 'host: a', 'x-case: ID', 'connection: close']
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
  if (body?.length === 1) lines.push(`content-length: ${body[0]!.length}`)
  if (body && body.length > 1) lines.push('transfer-encoding: chunked')
  const chunk = (part: string): string => `${part.length.toString(16)}\r\n${part}\r\n`
  const text = !body ? '' : body.length === 1 ? body[0]! : `${body.map(chunk).join('')}0\r\n\r\n`
  return `${lines.join('\r\n')}\r\n\r\n${text}`
}

function managerOf({ filters = [], route, routeEntry, routeConfig, listener, manager }: Case): object {
  return {
    listener,
    generate_request_id: false,
    http_filters: [...filters, filter('router', 'Router')],
    route_config: {
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [{ name: 'r', match: { prefix: '/' }, route: { cluster: 'up', ...route }, ...routeEntry }],
        },
      ],
      ...routeConfig,
    },
    ...manager,
  }
}

type Play = string | readonly string[] | Session
const isHttp1 = (client: Case['client']): client is string | readonly string[] =>
  typeof client === 'string' || typeof client[0] === 'string'
/** Either kind of client. */
const TRAFFIC: Traffic<Play> = {
  name: 'requests',
  generate: () => [],
  send: (port, play, id) =>
    typeof play === 'string'
      ? HTTP1.exchange(port, play.replaceAll('ID', id))
      : 'requests' in play
        ? SESSIONS.send(port, play, id)
        : HTTP1.exchange(
            port,
            play.map((request) => request.replaceAll('ID', id)),
          ),
  smaller: () => [],
  forgive: (theirs, ours) => SESSIONS.forgive!(theirs, ours),
  show: (play) => JSON.stringify(play),
}
const REPLAYS = 3

/** One test for each case and one for the counters of all. What differs once and not again was a race of that moment. */
export function describeCases(title: string, cases: readonly Case[]): void {
  describe(title, { skip: SKIP, concurrency: false }, () => {
    let pair: Pair
    let all: BatchResult
    let seen: (readonly [Observation, Observation])[]
    const entries = cases.map(
      ({ client }, listener): Entry<Play> => ({
        item: isHttp1(client) ? client : { window: 65_535, requests: client, last: null },
        listener,
      }),
    )
    before(async () => {
      pair = await Pair.start(cases.map(managerOf))
      all = await pair.batch(TRAFFIC, entries)
      seen = [...all.observations]
      for (let n = 0; n < REPLAYS; n++) {
        const suspects = [...seen.keys()].filter((i) => !same(seen[i]!))
        if (suspects.length === 0) break
        const again = suspects.map((i) => entries[i]!)
        const { observations } = await pair.batch(TRAFFIC, again)
        for (const [at, i] of suspects.entries()) seen[i] = observations[at]!
      }
    })
    after(() => pair?.stop())

    for (const [i, { name }] of cases.entries()) {
      it(name, () => assert.ok(same(seen[i]!), describeObservation(seen[i]!)))
    }
    it('counters', async () => {
      if (all.stats.length === 0) return
      const culprit = await narrow(
        pair,
        TRAFFIC,
        entries,
        [...entries.keys()].filter((i) => same(seen[i]!)),
      )
      if (culprit) assert.fail(`${cases[culprit.i]!.name}:\n${culprit.stats.join('\n')}`)
    })
  })
}
