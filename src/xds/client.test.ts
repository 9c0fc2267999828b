import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { NodeSchema } from '../api/gen/envoy/config/core/v3/base_pb.js'
import { GRPC_STATUS, GrpcStatusError } from '../base/grpc-status.ts'
import { AdsClient, type ResourceChange, type ResourceHandler } from './client.ts'
import { clusterResource, connectTo, RecordingHandler, serve, silentLog, until } from './testing.ts'
import { CDS_TYPE, EDS_TYPE } from './type-urls.ts'

const cleanup: (() => void)[] = []
afterEach(() => {
  for (const close of cleanup.splice(0)) close()
})

function client(port: number, mode: 'delta' | 'sotw', stats = {}): AdsClient {
  const ads = new AdsClient({
    transport: connectTo(port),
    node: create(NodeSchema, { id: 'sidecar~10.0.0.1~a.b~b.svc.cluster.local' }),
    mode,
    log: silentLog,
    backoff: { baseMs: 1, maxMs: 20 },
    stats,
  })
  cleanup.push(() => ads.close())
  return ads
}

async function server(handler: RecordingHandler, port = 0) {
  const running = await serve(handler, port)
  cleanup.push(() => running.close())
  return running
}

function names(change: ResourceChange): string {
  return [...change.added.map((r) => `+${r.name}@${r.version}`), ...change.removed.map((n) => `-${n}`)].join(' ')
}

function record(seen: string[]): ResourceHandler {
  return { onUpdate: (change) => take(seen, [names(change)]) }
}

/** Accepts, remembering `words`. */
function take(seen: string[], words: readonly string[]): null {
  seen.push(...words)
  return null
}

for (const mode of ['delta', 'sotw'] as const) {
  test(`${mode}: a wildcard watch receives, acknowledges and follows removals`, async () => {
    const handler = new RecordingHandler()
    const { port } = await server(handler)
    const seen: string[] = []
    const ads = client(port, mode)
    ads.subscribe(CDS_TYPE, { wildcard: true }, record(seen))
    handler.onSubscribed = (conn, typeUrl) =>
      conn.push(typeUrl, {
        resources: [clusterResource('a'), clusterResource('b')],
        removed: [],
        version: 'v1',
        full: true,
      })
    ads.start()
    await until(() => handler.events.includes('ack Cluster'), 'the first ACK')
    assert.deepEqual(handler.events, ['connect', 'subscribe Cluster first *', 'ack Cluster'])
    assert.equal(ads.connected, true)
    const conn = handler.connection!
    assert.equal(conn.busy(), false)
    // The same content again is not sent; a partial update is.
    assert.equal(conn.push(CDS_TYPE, { resources: [clusterResource('a')], removed: [], version: 'v2', full: false }), 0)
    assert.ok(
      conn.push(CDS_TYPE, { resources: [clusterResource('c', '3')], removed: ['a'], version: 'v3', full: false }) > 0,
    )
    assert.equal(conn.busy(CDS_TYPE), true)
    await until(() => handler.events.length === 4, 'the second ACK')
    const versions = mode === 'delta' ? ['+a@1 +b@1', '+c@3 -a'] : ['+a@v1 +b@v1', '+b@v3 +c@v3 -a']
    assert.deepEqual(seen, versions)
    assert.equal(conn.watched(CDS_TYPE)!.versionAcked, 'v3')
  })

  test(`${mode}: a refusal reaches the server with its reason, and the accepted version stays`, async () => {
    const handler = new RecordingHandler()
    const { port } = await server(handler)
    const counts = { rejected: 0, success: 0 }
    const ads = client(port, mode, { updateRejected: () => counts.rejected++, updateSuccess: () => counts.success++ })
    const subscription = ads.subscribe(
      CDS_TYPE,
      { wildcard: true },
      {
        onUpdate: async (change) => (change.added.some((r) => r.name === 'bad') ? 'bad is not good' : null),
      },
    )
    handler.onSubscribed = (conn, typeUrl) =>
      conn.push(typeUrl, { resources: [clusterResource('a')], removed: [], version: 'v1', full: true })
    ads.start()
    await until(() => handler.events.includes('ack Cluster'), 'the ACK')
    handler.connection!.push(CDS_TYPE, { resources: [clusterResource('bad')], removed: [], version: 'v2', full: false })
    await until(() => handler.events.includes('nack Cluster bad is not good'), 'the NACK')
    const watched = handler.connection!.watched(CDS_TYPE)!
    assert.equal(watched.lastError, 'bad is not good')
    assert.equal(watched.versionAcked, 'v1')
    assert.equal(handler.connection!.busy(CDS_TYPE), false)
    assert.equal(subscription.version, 'v1')
    assert.deepEqual(counts, { rejected: 1, success: 1 })
    // The next good response clears the error.
    handler.connection!.push(CDS_TYPE, {
      resources: [clusterResource('a', '2')],
      removed: ['bad'],
      version: 'v3',
      full: false,
    })
    await until(() => subscription.version === 'v3', 'recovery')
    await until(() => watched.lastError === null, 'the error to clear')
  })

  test(`${mode}: names can be added, asked for again and removed`, async () => {
    const handler = new RecordingHandler()
    const { port } = await server(handler)
    const seen: string[] = []
    const ads = client(port, mode)
    handler.onSubscribed = (conn, typeUrl, added) =>
      conn.push(typeUrl, { resources: added.map((n) => clusterResource(n)), removed: [], version: 'v', full: false })
    const subscription = ads.subscribe(EDS_TYPE, { names: ['a'] }, record(seen))
    ads.start()
    await until(() => seen.length === 1, 'the first answer')
    await until(() => !handler.connection!.busy(), 'the ACK')
    subscription.add(['b', 'c'])
    await until(() => seen.length === 2, 'the answer for the added names')
    await until(() => !handler.connection!.busy(), 'the ACK')
    subscription.remove(['b'])
    await until(() => !handler.connection!.watched(EDS_TYPE)!.names.has('b'), 'the removal')
    assert.deepEqual([...handler.connection!.watched(EDS_TYPE)!.names], ['a', 'c'])
    if (mode === 'delta') {
      subscription.add(['a'])
      await until(() => seen.length === 3, 'the answer to the re-subscription')
      assert.deepEqual(seen, ['+a@1', '+b@1 +c@1', '+a@1'])
    } else assert.deepEqual(seen, ['+a@v', '+b@v +c@v'])
    subscription.remove(['a', 'c'])
    await until(() => handler.events.includes('unsubscribe ClusterLoadAssignment'), 'the unsubscription')
    assert.equal(handler.connection!.watched(EDS_TYPE), undefined)
  })

  test(`${mode}: after a server restart the client comes back by itself and tells what it has`, async () => {
    const first = new RecordingHandler()
    const one = await server(first)
    const seen: string[] = []
    const states: boolean[] = []
    const ads = client(one.port, mode, { connected: (state: boolean) => states.push(state) })
    const answer = (handler: RecordingHandler) => {
      handler.onSubscribed = (conn, typeUrl) =>
        conn.push(typeUrl, { resources: [clusterResource('a', '7')], removed: [], version: 'v1', full: true })
    }
    answer(first)
    ads.subscribe(CDS_TYPE, { wildcard: true }, record(seen))
    ads.start()
    await until(() => first.events.includes('ack Cluster'), 'the ACK')
    one.close()
    await until(() => first.events.includes('disconnect'), 'the disconnect')
    const second = new RecordingHandler()
    answer(second)
    await server(second, one.port)
    await until(() => second.events.includes('ack Cluster'), 'the ACK on the new stream')
    assert.deepEqual(states, [true, false, true])
    // Delta: the server learned from initial_resource_versions that nothing needs to be sent again.
    assert.deepEqual(seen, mode === 'delta' ? ['+a@7', ''] : ['+a@v1', '+a@v1'])
  })
}

test('while a response is being applied nothing is sent; then its ACK comes before the requests it caused', async () => {
  const handler = new RecordingHandler()
  const { port } = await server(handler)
  const ads = client(port, 'delta')
  const eds = ads.subscribe(EDS_TYPE, {}, { onUpdate: () => null })
  ads.subscribe(
    CDS_TYPE,
    { wildcard: true },
    {
      onUpdate: async (change) => {
        for (const { name } of change.added) {
          eds.add([name])
          await new Promise((resolve) => setImmediate(resolve))
        }
        return null
      },
    },
  )
  handler.onSubscribed = (conn, typeUrl, added) => {
    const list = typeUrl === CDS_TYPE ? ['a', 'b', 'c'] : added
    conn.push(typeUrl, { resources: list.map((n) => clusterResource(n)), removed: [], version: 'v', full: false })
  }
  ads.start()
  await until(() => handler.events.includes('ack ClusterLoadAssignment'), 'the EDS ACK')
  assert.deepEqual(handler.events, [
    'connect',
    'subscribe Cluster first *',
    'ack Cluster',
    'subscribe ClusterLoadAssignment first +a +b +c',
    'ack ClusterLoadAssignment',
  ])
})

test('a name that does not come in time, and one that the server says does not exist', async () => {
  const handler = new RecordingHandler()
  const { port } = await server(handler)
  const ads = client(port, 'delta')
  const timedOut: string[] = []
  const removed: string[] = []
  handler.onSubscribed = (conn, typeUrl) =>
    conn.push(typeUrl, { resources: [], removed: ['gone'], version: 'v', full: false })
  ads.subscribe(
    EDS_TYPE,
    { names: ['late', 'gone'], initialFetchTimeoutMs: 300 },
    { onUpdate: (change) => take(removed, change.removed), onTimeout: (names) => timedOut.push(...names) },
  )
  ads.start()
  await until(() => timedOut.length > 0, 'the timeout')
  assert.deepEqual(timedOut, ['late'])
  assert.deepEqual(removed, ['gone'])
})

test('a refusal of megabytes is told in short: servers take no message that long', async () => {
  const handler = new RecordingHandler()
  const { port } = await server(handler)
  const ads = client(port, 'delta')
  ads.subscribe(CDS_TYPE, { wildcard: true }, { onUpdate: () => 'x'.repeat(8 << 20) })
  handler.onSubscribed = (conn, typeUrl) =>
    conn.push(typeUrl, { resources: [clusterResource('a')], removed: [], version: 'v1', full: true })
  ads.start()
  await until(() => handler.events.some((event) => event.startsWith('nack')), 'the NACK')
  const nack = handler.events.find((event) => event.startsWith('nack'))!
  assert.match(nack, /^nack Cluster x{16384}… \(\d+ characters more\)$/)
})

test('a request without node.id and a refused connection end the stream with the right status', async () => {
  const handler = new RecordingHandler()
  const { port } = await server(handler)
  const status = (id: string) =>
    new Promise<{ code: number; details: string }>((resolve) => {
      const ads = new AdsClient({
        transport: connectTo(port),
        node: create(NodeSchema, { id }),
        mode: 'sotw',
        log: {
          ...silentLog,
          warn: (fields: { reason: string }) =>
            resolve({ code: Number(fields.reason.split(' ')[0]), details: fields.reason }),
        } as never,
        backoff: { baseMs: 60_000, maxMs: 60_000, random: () => 0.9 },
      })
      cleanup.push(() => ads.close())
      ads.subscribe(CDS_TYPE, { wildcard: true }, { onUpdate: () => null })
      ads.start()
    })
  assert.equal((await status('')).code, GRPC_STATUS.INVALID_ARGUMENT)
  handler.onConnect = () => {
    throw new GrpcStatusError(GRPC_STATUS.UNAVAILABLE, 'not ready')
  }
  const refused = await status('x')
  assert.equal(refused.code, GRPC_STATUS.UNAVAILABLE)
  assert.match(refused.details, /not ready/)
  assert.ok(!handler.events.includes('disconnect'), 'a refused connection was never connected')
})

test('a handler that throws ends that stream only', async () => {
  const handler = new RecordingHandler()
  const { port } = await server(handler)
  let failures = 1
  handler.onSubscribed = (conn, typeUrl) => {
    if (failures-- > 0) throw new Error('generator broke')
    conn.push(typeUrl, { resources: [clusterResource('a')], removed: [], version: 'v', full: true })
  }
  const ads = client(port, 'delta')
  ads.subscribe(CDS_TYPE, { wildcard: true }, { onUpdate: () => null })
  ads.start()
  await until(() => handler.events.includes('ack Cluster'), 'the second stream to succeed')
  assert.deepEqual(handler.events.slice(0, 3), ['connect', 'subscribe Cluster first *', 'disconnect'])
})
