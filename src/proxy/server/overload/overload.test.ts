import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { OverloadManagerSchema } from '../../../api/gen/envoy/config/overload/v3/overload_pb.js'
import { parseJson } from '../../config/json.ts'
import { sharedCount } from '../../network/connection-limits.ts'
import { createOverloadMemory, OverloadState } from '../../network/overload-state.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import { parseOverloadManager } from './config.ts'
import { OverloadManager, scaleOf } from './manager.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.resource_monitors.${name}`
const HEAP = {
  name: 'heap',
  typed_config: { '@type': type('fixed_heap.v3.FixedHeapConfig'), max_heap_size_bytes: 1_000_000_000 },
}
const parse = (config: object) => parseOverloadManager(parseJson(OverloadManagerSchema, config, { path: '' }))

test('scale runs from the scaling to the saturation threshold', () => {
  const trigger = { monitor: 'm', scaling: 0.5, saturation: 0.9 }
  assert.deepEqual(
    [0.2, 0.5, 0.7, 0.9, 1].map((pressure) => Math.round(scaleOf(trigger, pressure) * 100)),
    [0, 0, 50, 100, 100],
  )
  assert.equal(scaleOf({ monitor: 'm', scaling: 0.9, saturation: 0.9 }, 0.89), 0)
})

const REFUSED: readonly [string, object, RegExp][] = [
  [
    'an action that is not built',
    { actions: [{ name: 'envoy.overload_actions.reset_high_memory_stream', triggers: [] }] },
    /actions\[0\]\.name: .*reset_high_memory_stream/,
  ],
  [
    'a monitor that is not built',
    { resource_monitors: [{ name: 'x', typed_config: { '@type': 'type.googleapis.com/google.protobuf.Empty' } }] },
    /resource_monitors\[0\]\.typed_config/,
  ],
  [
    'a trigger without its monitor',
    {
      actions: [{ name: 'envoy.overload_actions.shrink_heap', triggers: [{ name: 'heap', threshold: { value: 1 } }] }],
    },
    /Unknown trigger resource heap/,
  ],
  ['two monitors of one name', { resource_monitors: [HEAP, HEAP] }, /Duplicate resource monitor heap/],
  [
    'thresholds the wrong way round',
    {
      resource_monitors: [HEAP],
      actions: [
        {
          name: 'envoy.overload_actions.shrink_heap',
          triggers: [{ name: 'heap', scaled: { scaling_threshold: 0.9, saturation_threshold: 0.5 } }],
        },
      ],
    },
    /must be less than/,
  ],
  ['load shed points', { loadshed_points: [{ name: 'p', triggers: [] }] }, /loadshed_points/],
]

for (const [name, config, reason] of REFUSED)
  test(`${name} is refused`, () => assert.throws(() => parse(config), reason))

test('pressure of a file switches actions on and off', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'overload-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'pressure')
  const config = parse({
    refresh_interval: '600s',
    resource_monitors: [
      HEAP,
      { name: 'file', typed_config: { '@type': type('injected_resource.v3.InjectedResourceConfig'), filename: file } },
    ],
    actions: [
      {
        name: 'envoy.overload_actions.stop_accepting_requests',
        triggers: [{ name: 'file', threshold: { value: 0.8 } }],
      },
      {
        name: 'envoy.overload_actions.stop_accepting_connections',
        triggers: [{ name: 'file', threshold: { value: 0.8 } }],
      },
    ],
  })
  const memory = createOverloadMemory()
  const accepting: boolean[] = []
  const stats = new StatsStore()
  const manager = new OverloadManager(config, memory, sharedCount(), stats, (on) => accepting.push(on))
  t.after(() => manager.close())
  const state = new OverloadState(memory, new StatsStore())
  const action = 'overload.envoy.overload_actions.stop_accepting_requests'
  await manager.refresh()
  assert.equal(stats.counter('overload.file.failed_updates').value, 1)
  assert.equal(state.stopAcceptingRequests, false)
  writeFileSync(file, '0.8\n')
  await manager.refresh()
  assert.equal(state.stopAcceptingRequests, true)
  assert.deepEqual([stats.gauge(`${action}.active`).value, stats.gauge(`${action}.scale_percent`).value], [1, 100])
  writeFileSync(file, 'much')
  await manager.refresh()
  assert.equal(state.stopAcceptingRequests, true, 'what cannot be read changes nothing')
  writeFileSync(file, '0.1')
  await manager.refresh()
  assert.equal(state.stopAcceptingRequests, false)
  assert.deepEqual(accepting, [false, true], 'told once for each change')
  assert.ok(stats.gauge('overload.heap.pressure').value > 0)
})

test('memory that cannot be read is a failed update, and the next round is run', async (t) => {
  const config = parse({
    resource_monitors: [HEAP],
    actions: [{ name: 'envoy.overload_actions.shrink_heap', triggers: [{ name: 'heap', threshold: { value: 2 } }] }],
  })
  const stats = new StatsStore()
  const manager = new OverloadManager(config, createOverloadMemory(), sharedCount(), stats, () => {})
  t.after(() => manager.close())
  const failed = stats.counter('overload.heap.failed_updates')
  // No descriptor left to read /proc with.
  const rss = t.mock.method(process.memoryUsage, 'rss', () => {
    throw new Error('EMFILE: too many open files, uv_resident_set_memory')
  })
  await manager.refresh()
  await manager.refresh()
  assert.equal(failed.value, 2)
  rss.mock.mockImplementation(() => 500_000_000)
  await manager.refresh()
  assert.equal(failed.value, 2)
  assert.equal(stats.gauge('overload.heap.pressure').value, 50)
})
