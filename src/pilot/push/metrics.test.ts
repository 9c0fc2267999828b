import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import { NDS_TYPE } from '../nds/generate.ts'
import { PilotMetrics } from './metrics.ts'

test('clients cannot make up label values that stay', async () => {
  const metrics = new PilotMetrics()
  const typed = (lines: readonly string[]) => [...new Set(lines.map((line) => /type="([^"]*)"/.exec(line)![1]!))].sort()
  for (let i = 0; i < 100; i++) {
    metrics.connected(`1.${i}`, 1)
    metrics.connected(`1.${i}`, -1)
    metrics.rejected(`type.googleapis.com/made.up.Type${i}`)
    metrics.sent(`type.googleapis.com/made.up.Type${i}`, 10)
  }
  for (const typeUrl of [CDS_TYPE, SDS_TYPE, NDS_TYPE]) metrics.sent(typeUrl, 10)
  metrics.connected('1.32.0', 1)
  metrics.connected('1.32.0', 1)
  metrics.connected('1.32.0', -1)
  const lines = (await metrics.registry.metrics()).split('\n')
  const of = (name: string) => lines.filter((line) => line.startsWith(`${name}{`))
  assert.deepEqual(of('pilot_xds'), ['pilot_xds{version="1.32.0"} 1'])
  assert.deepEqual(typed(of('pilot_total_xds_rejects')), ['other'])
  assert.deepEqual(typed(of('pilot_xds_pushes')), ['NameTable', 'Secret', 'cds', 'other'])
  assert.deepEqual(typed(of('pilot_xds_config_size_bytes_count')), [CDS_TYPE, SDS_TYPE, NDS_TYPE, 'other'].sort())
})
