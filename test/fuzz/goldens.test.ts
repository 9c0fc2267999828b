// Seeded mutation of what real istiod generates (recordings beside the repository; skipped where there are none): every
// resource is accepted or refused with a reason, and what is accepted serves.

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf'
import { ListenerSchema } from '../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { parseJson } from '../../src/proxy/config/json.ts'
import type { Json } from '../interop/config/mutate.ts'
import { connectionManagers, serve } from './connections.ts'
import { edit } from './edit.ts'
import type { Random } from './random.ts'
import { accepted, PARSERS } from './resources.ts'
import { rounds } from './rounds.ts'

const fuzz = rounds(1, 300)
const folder = process.env.GOLDENS ?? new URL('../../../shared/goldens/istio', import.meta.url).pathname
const KINDS: Readonly<Record<string, string>> = {
  'listeners.json': 'listener',
  'routes.json': 'route',
  'clusters.json': 'cluster',
  'endpoints.json': 'endpoints',
}

/** Of each kind, all that was recorded. */
const resources = Object.entries(KINDS).map(([file, kind]) => ({
  kind,
  list: existsSync(folder)
    ? globSync(join(folder, '**', file)).flatMap((path) => {
        assert.equal(basename(path), file)
        return JSON.parse(readFileSync(path, 'utf8')) as Json[]
      })
    : [],
}))

function use(kind: string, desc: DescMessage, json: Json, random: Random): boolean {
  return accepted(() => {
    const body = toBinary(desc, parseJson(desc, json, { path: '' }))
    structuredClone(PARSERS[kind]![1](body))
    if (kind !== 'listener') return
    const { filterChains, defaultFilterChain } = fromBinary(ListenerSchema, body)
    const chains = defaultFilterChain ? [...filterChains, defaultFilterChain] : filterChains
    // Listeners of gateways and sidecars have dozens of chains of one kind.
    for (const parsed of connectionManagers(chains.slice(0, 4))) serve(parsed, random)
  })
}

test('resources of istiod with any edits', { skip: !existsSync(folder) && 'no recordings here' }, () => {
  let whole = 0
  fuzz((random) => {
    const { kind, list } = random.pick(resources)
    const desc = PARSERS[kind]![0]
    const json = structuredClone(random.pick(list))
    for (let count = random.below(5); count > 0; count--) edit(random, json, random.pick(list))
    if (use(kind, desc, json, random)) whole++
  })
  assert.ok(whole > 50, `${whole} were accepted`)
})
