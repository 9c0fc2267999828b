// The decision table of both protocol variants (istio-contract 10, envoy-contract 3), row by row.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import type { ResourceUpdate } from './server-types.ts'
import { clusterResource as resource } from './testing.ts'
import { CDS_TYPE, EDS_TYPE } from './type-urls.ts'
import { type Composed, type Verdict, Watch } from './watch.ts'

interface Sotw {
  names?: string[]
  nonce?: string
  error?: string
}
interface Delta {
  sub?: string[]
  unsub?: string[]
  nonce?: string
  error?: string
  known?: Record<string, string>
}
/** An input of the machine: a request, or a push that goes out under a nonce. */
type Step<R> =
  | R
  | { push: Partial<ResourceUpdate> & { resources: ReturnType<typeof resource>[] }; as: string }
  | 'answer next'
interface Row<R> {
  name: string
  type: string
  steps: [Step<R>, string][]
}

function verdictText(verdict: Verdict): string {
  if (verdict.kind === 'nack') return `nack ${verdict.reason}${verdict.change ? ` ${changeText(verdict.change)}` : ''}`
  if (verdict.kind === 'subscribe') return `${verdict.acked ? 'ack ' : ''}${changeText(verdict.change)}`
  return verdict.kind
}

function changeText(change: {
  added: readonly string[]
  removed: readonly string[]
  first: boolean
  wildcard: boolean
}): string {
  return [
    'answer',
    change.first ? 'first' : '',
    change.wildcard ? '*' : '',
    ...change.added.map((n) => `+${n}`),
    ...change.removed.map((n) => `-${n}`),
  ]
    .filter((word) => word !== '')
    .join(' ')
}

function composedText(composed: Composed | null): string {
  if (composed === null) return 'nothing'
  return [
    'send',
    ...composed.resources.map((r) => `+${r.name}@${r.version}`),
    ...composed.removed.map((n) => `-${n}`),
  ].join(' ')
}

function run<R extends Sotw | Delta>(row: Row<R>, delta: boolean): void {
  const watch = new Watch(row.type, delta)
  let first = true
  const log: string[] = []
  for (const [step] of row.steps) {
    if (step === 'answer next') {
      watch.answerNext()
      log.push('')
    } else if ('push' in step) {
      const composed = watch.compose({ removed: [], version: 'v', full: false, ...step.push })
      if (composed !== null) watch.sent(step.as, 'v')
      log.push(composedText(composed))
    } else {
      const { nonce = '', error } = step
      const errorDetail = error === undefined ? undefined : { code: 13, message: error }
      const { names, sub, unsub, known } = step as Sotw & Delta
      const verdict = delta
        ? watch.onDeltaRequest(
            create(DeltaDiscoveryRequestSchema, {
              typeUrl: row.type,
              responseNonce: nonce,
              errorDetail,
              resourceNamesSubscribe: sub,
              resourceNamesUnsubscribe: unsub,
              initialResourceVersions: known,
            }),
            first,
          )
        : watch.onRequest(
            create(DiscoveryRequestSchema, {
              typeUrl: row.type,
              responseNonce: nonce,
              errorDetail,
              resourceNames: names,
            }),
            first,
          )
      first = false
      log.push(verdictText(verdict))
    }
  }
  assert.deepEqual(
    log,
    row.steps.map(([, expected]) => expected),
  )
}

const a = resource('a')
const b = resource('b')
const a2 = resource('a', '2')

const SOTW: Row<Sotw>[] = [
  {
    name: 'wildcard: first request, ACK, then a refusal keeps the stream and needs no answer',
    type: CDS_TYPE,
    steps: [
      [{}, 'answer first *'],
      [{ push: { resources: [a, b], full: true }, as: 'n1' }, 'send +a@1 +b@1'],
      [{ nonce: 'n1' }, 'ack'],
      [{ push: { resources: [a2] }, as: 'n2' }, 'send +a@2 +b@1'],
      [{ nonce: 'n2', error: 'no' }, 'nack no'],
      [{ push: { resources: [a2] }, as: 'n3' }, 'nothing'],
    ],
  },
  {
    name: 'a first request is answered even with nothing, and also with a nonce of an earlier stream',
    type: CDS_TYPE,
    steps: [
      [{ nonce: 'of an old stream' }, 'answer first *'],
      [{ push: { resources: [], full: true }, as: 'n1' }, 'send'],
      [{ push: { resources: [], full: true }, as: 'n2' }, 'nothing'],
    ],
  },
  {
    name: 'a stale nonce is ignored, the current one acknowledges',
    type: CDS_TYPE,
    steps: [
      [{}, 'answer first *'],
      [{ push: { resources: [a], full: true }, as: 'n1' }, 'send +a@1'],
      [{ push: { resources: [a2], full: true }, as: 'n2' }, 'send +a@2'],
      [{ nonce: 'n1' }, 'stale'],
      [{ nonce: 'n2' }, 'ack'],
    ],
  },
  {
    name: 'named: added names are answered alone, removed names are not answered, none unsubscribes',
    type: EDS_TYPE,
    steps: [
      [{ names: ['a'] }, 'answer first +a'],
      [{ push: { resources: [a, b] }, as: 'n1' }, 'send +a@1'],
      [{ names: ['a', 'b'], nonce: 'n1' }, 'ack answer +b'],
      [{ push: { resources: [b] }, as: 'n2' }, 'send +b@1'],
      [{ names: ['b'], nonce: 'n2' }, 'ack'],
      [{ names: [], nonce: 'n2' }, 'unsubscribe'],
      [{ push: { resources: [b] }, as: 'n3' }, 'nothing'],
      [{ names: ['b'], nonce: 'n2' }, 'answer +b'],
      [{ push: { resources: [b] }, as: 'n4' }, 'send +b@1'],
    ],
  },
  { name: 'named: a first request for nothing wants nothing', type: EDS_TYPE, steps: [[{}, 'none']] },
  {
    name: 'after its clusters changed a client asks again with the same names and is answered',
    type: EDS_TYPE,
    steps: [
      [{ names: ['a'] }, 'answer first +a'],
      [{ push: { resources: [a] }, as: 'n1' }, 'send +a@1'],
      [{ names: ['a'], nonce: 'n1' }, 'ack'],
      ['answer next', ''],
      [{ names: ['a'], nonce: 'n1' }, 'answer +a'],
      [{ push: { resources: [a] }, as: 'n2' }, 'send +a@1'],
      [{ names: ['a'], nonce: 'n2' }, 'ack'],
    ],
  },
  {
    name: 'explicit names on a wildcard type: an empty list then means nothing, * means all',
    type: CDS_TYPE,
    steps: [
      [{ names: ['a'] }, 'answer first +a'],
      [{ push: { resources: [a, b], full: true }, as: 'n1' }, 'send +a@1'],
      [{ names: ['*'], nonce: 'n1' }, 'ack answer * -a'],
      [{ push: { resources: [a, b], full: true }, as: 'n2' }, 'send +a@1 +b@1'],
      [{ names: ['a'], nonce: 'n2' }, 'ack answer +a'],
      [{ names: [], nonce: 'n2' }, 'unsubscribe'],
    ],
  },
  {
    name: 'a removal from a wildcard type is a smaller full state',
    type: CDS_TYPE,
    steps: [
      [{}, 'answer first *'],
      [{ push: { resources: [a, b], full: true }, as: 'n1' }, 'send +a@1 +b@1'],
      [{ push: { resources: [], removed: ['a', 'unknown'] }, as: 'n2' }, 'send +b@1'],
      [{ push: { resources: [], removed: ['unknown'] }, as: 'n3' }, 'nothing'],
    ],
  },
]

const DELTA: Row<Delta>[] = [
  {
    name: 'wildcard by an empty first request: only what changed is sent, a full push implies removals',
    type: CDS_TYPE,
    steps: [
      [{}, 'answer first *'],
      [{ push: { resources: [a, b], full: true }, as: 'n1' }, 'send +a@1 +b@1'],
      [{ nonce: 'n1' }, 'ack'],
      [{ push: { resources: [a, b], full: true }, as: 'n2' }, 'nothing'],
      [{ push: { resources: [a2], full: true }, as: 'n3' }, 'send +a@2 -b'],
      [{ nonce: 'n3', error: 'no' }, 'nack no'],
      [{ nonce: 'n1' }, 'stale'],
    ],
  },
  {
    name: 'reconnect: initial_resource_versions count as subscriptions, the same versions are not sent again',
    type: EDS_TYPE,
    steps: [
      [{ sub: ['a', 'b'], known: { a: '1', gone: '1' } }, 'answer first +a +b +gone'],
      [{ push: { resources: [a, b], removed: ['gone'] }, as: 'n1' }, 'send +b@1 -gone'],
    ],
  },
  {
    name: 'reconnect of a wildcard watch: what vanished meanwhile is removed',
    type: CDS_TYPE,
    steps: [
      [{ known: { a: '1', b: '1' } }, 'answer first *'],
      [{ push: { resources: [a2], full: true }, as: 'n1' }, 'send +a@2 -b'],
    ],
  },
  {
    name: 'a re-subscription to a known name is answered although nothing changed',
    type: EDS_TYPE,
    steps: [
      [{ sub: ['a'] }, 'answer first +a'],
      [{ push: { resources: [a] }, as: 'n1' }, 'send +a@1'],
      [{ nonce: 'n1' }, 'ack'],
      [{ sub: ['a'] }, 'answer +a'],
      [{ push: { resources: [a] }, as: 'n2' }, 'send +a@1'],
    ],
  },
  {
    name: 'names that do not exist are answered as removed, later they appear',
    type: EDS_TYPE,
    steps: [
      [{ sub: ['a', 'x'] }, 'answer first +a +x'],
      [{ push: { resources: [a], removed: ['x'] }, as: 'n1' }, 'send +a@1 -x'],
      [{ push: { resources: [resource('x')] }, as: 'n2' }, 'send +x@1'],
    ],
  },
  {
    name: 'name changes count on acknowledging, refusing and stale requests alike',
    type: EDS_TYPE,
    steps: [
      [{ sub: ['a'] }, 'answer first +a'],
      [{ push: { resources: [a] }, as: 'n1' }, 'send +a@1'],
      [{ nonce: 'n1', sub: ['b'] }, 'ack answer +b'],
      [{ push: { resources: [b] }, as: 'n2' }, 'send +b@1'],
      [{ nonce: 'n2', error: 'no', sub: ['c'] }, 'nack no answer +c'],
      [{ nonce: 'n1', sub: ['d'] }, 'answer +d'],
      [{ unsub: ['a', 'b', 'c', 'd'] }, 'unsubscribe'],
      [{ nonce: 'n2' }, 'ack'],
      [{ push: { resources: [a] }, as: 'n3' }, 'nothing'],
      [{ sub: ['a'] }, 'answer +a'],
    ],
  },
  {
    name: 'unsubscribing a name under a wildcard is answered with what the wildcard still covers',
    type: CDS_TYPE,
    steps: [
      [{ sub: ['*', 'a'] }, 'answer first * +a'],
      [{ push: { resources: [a, b], full: true }, as: 'n1' }, 'send +a@1 +b@1'],
      [{ unsub: ['a'] }, 'answer * +a -a'],
      [{ push: { resources: [a] }, as: 'n2' }, 'send +a@1'],
      [{ unsub: ['*'] }, 'unsubscribe'],
    ],
  },
  {
    name: 'subscribe and unsubscribe in one request leaves nothing to answer',
    type: EDS_TYPE,
    steps: [
      [{ sub: ['a'] }, 'answer first +a'],
      [{ push: { resources: [a] }, as: 'n1' }, 'send +a@1'],
      [{ sub: ['b'], unsub: ['b'] }, 'none'],
    ],
  },
  {
    name: 'force sends what the client has',
    type: EDS_TYPE,
    steps: [
      [{ sub: ['a'] }, 'answer first +a'],
      [{ push: { resources: [a] }, as: 'n1' }, 'send +a@1'],
      [{ push: { resources: [a], force: true }, as: 'n2' }, 'send +a@1'],
    ],
  },
]

describe('state of the world', () => {
  for (const row of SOTW) test(row.name, () => run(row, false))
})

describe('delta', () => {
  for (const row of DELTA) test(row.name, () => run(row, true))
})
