// Real Envoy and our proxy, one configuration, the same seeded random requests: what the client sees, what the upstream
// sees and what the access log says must agree. How the requests travel is the caller's matter.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, type RunningProxy, startProxy } from '../harness/proxies.ts'
import type { RawResponse } from '../harness/raw-client.ts'
import { type ReceivedRequest, type RecordingUpstream, startRecordingUpstream } from '../harness/recording-upstream.ts'
import { differentialBootstrap } from './bootstrap.ts'
import { encodeRequest, type GeneratedRequest, generateRequests } from './requests.ts'

const REQUESTS = Number(process.env.INTEROP_REQUESTS ?? 1500)
const SEED = Number(process.env.INTEROP_SEED ?? 20260822)
const PARALLEL = 8

const SETTINGS: Record<string, object> = {
  'Envoy defaults': {},
  'Istio sidecar': {
    normalize_path: true,
    use_remote_address: false,
    generate_request_id: true,
    path_with_escaped_slashes_action: 'KEEP_UNCHANGED',
    upgrade_configs: [{ upgrade_type: 'websocket' }],
  },
  'edge gateway': {
    normalize_path: true,
    merge_slashes: true,
    use_remote_address: true,
    xff_num_trusted_hops: 1,
    server_name: 'edge',
    via: 'edge-via',
    path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT',
    strip_any_host_port: true,
    common_http_protocol_options: { headers_with_underscores_action: 'REJECT_REQUEST', max_headers_count: 20 },
  },
}

/** Sends one request, whose `x-case` is `id`, to a listener on this port. */
export type Send = (port: number, request: GeneratedRequest, id: string) => Promise<readonly RawResponse[]>

/** What the proxies forward to. */
export interface UpstreamKind {
  readonly http2: boolean
  start(): Promise<RecordingUpstream>
}

const HTTP1_UPSTREAM: UpstreamKind = { http2: false, start: startRecordingUpstream }

/** Registers the tests. `adapt` leaves out of a generated request what the protocol cannot say. */
export function compareProxies(
  protocol: string,
  send: Send,
  adapt: (request: GeneratedRequest) => GeneratedRequest,
  kind: UpstreamKind = HTTP1_UPSTREAM,
): void {
  const skip = envoyBinary() ? false : 'real Envoy is not installed'
  describe(`differential ${protocol}`, { skip, concurrency: false }, () => {
    for (const [setting, hcm] of Object.entries(SETTINGS)) {
      describe(setting, () => {
        let upstream: RecordingUpstream
        let envoy: RunningProxy
        let ours: RunningProxy
        before(async () => {
          upstream = await kind.start()
          ;[envoy, ours] = await Promise.all([
            startProxy('envoy', differentialBootstrap(upstream.port, hcm, kind.http2)),
            startProxy('outrigger', differentialBootstrap(upstream.port, hcm, kind.http2)),
          ])
        })
        after(async () => {
          await Promise.all([envoy?.stop(), ours?.stop(), upstream?.close()])
        })

        it(`answers and forwards ${REQUESTS} requests alike`, async () => {
          const requests = generateRequests(SEED, REQUESTS).map(adapt)
          const differences: string[] = []
          let next = 0
          const worker = async (): Promise<void> => {
            for (let i = next++; i < requests.length; i = next++) {
              const request = requests[i]!
              const [theirs, mine] = await Promise.all([
                run(envoy, upstream, send, request, i),
                run(ours, upstream, send, request, i),
              ])
              if (JSON.stringify(theirs) === JSON.stringify(mine)) continue
              differences.push(`#${i} ${encodeRequest(request, 'id').slice(0, 600)}\n${diff(theirs, mine)}`)
            }
          }
          await Promise.all(Array.from({ length: PARALLEL }, worker))
          assert.equal(
            differences.length,
            0,
            `${differences.length} of ${requests.length} differ:\n${differences.slice(0, 12).join('\n---\n')}`,
          )
        })

        it('logs them alike', async () => {
          const [theirs, mine] = await Promise.all([allLines(envoy), allLines(ours)])
          const differences = [...theirs]
            .filter(([id, line]) => mine.get(id) !== line)
            .map(([id, line]) => `${id}\n  envoy     ${line}\n  outrigger ${mine.get(id)}`)
          assert.equal(
            differences.length,
            0,
            `${differences.length} lines differ:\n${differences.slice(0, 12).join('\n')}`,
          )
        })
      })
    }
  })
}

interface Outcome {
  readonly responses: readonly RawResponse[]
  readonly upstream: readonly ReceivedRequest[]
}

async function run(
  proxy: RunningProxy,
  upstream: RecordingUpstream,
  send: Send,
  request: GeneratedRequest,
  i: number,
): Promise<Outcome> {
  const id = `${proxy.name}-${i}`
  const responses = await send(proxy.ports.listener, request, id)
  const clean = (headers: readonly string[]): string[] =>
    headers.map((h) =>
      h
        .replaceAll(id, 'ID')
        .replace(/^(x-envoy-upstream-service-time|x-envoy-expected-rq-timeout-ms): \d+$/, '$1: N')
        .replace(/^date: .* \d\d\d\d \d\d:\d\d:\d\d GMT$/, (d) => (d.includes('1970') ? d : 'date: NOW'))
        .replace(/^x-request-id: (?!11111111-2222).*/, 'x-request-id: ID')
        .replace(`127.0.0.1:${proxy.ports.listener}`, 'LISTENER'),
    )
  return {
    responses: responses.map((r) => ({ ...r, headers: clean(r.headers) })),
    upstream: upstream.received(id).map((r) => ({ ...r, headers: clean(r.headers) })),
  }
}

/** Access log by case, complete when every request has its line. */
async function allLines(proxy: RunningProxy): Promise<Map<string, string>> {
  for (;;) {
    const lines = proxy.logLines()
    if (lines.length >= REQUESTS) {
      const byCase = new Map<string, string>()
      for (const line of lines) {
        const { case: id, ...rest } = JSON.parse(line) as Record<string, unknown>
        byCase.set(String(id).replace(`${proxy.name}-`, ''), JSON.stringify(rest, Object.keys(rest).sort()))
      }
      return byCase
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function diff(theirs: Outcome, mine: Outcome): string {
  const flat = (o: Outcome): string[] => [
    ...o.responses.flatMap((r) => [
      `< ${r.status}`,
      ...r.headers.map((h) => `< ${h}`),
      `< body ${r.body.length}: ${r.body.slice(0, 200)}`,
    ]),
    ...o.upstream.flatMap((r) => [`> ${r.requestLine}`, ...r.headers.map((h) => `> ${h}`), `> body ${r.body.length}`]),
  ]
  const a = flat(theirs)
  const b = flat(mine)
  const only = (x: string[], y: string[], mark: string): string[] =>
    x.filter((line) => !y.includes(line)).map((line) => `  ${mark} ${line}`)
  const lines = [...only(a, b, 'envoy    '), ...only(b, a, 'outrigger')]
  return lines.length > 0
    ? lines.join('\n')
    : `  same lines in another order:\n  envoy     ${a.join(' | ')}\n  outrigger ${b.join(' | ')}`
}
