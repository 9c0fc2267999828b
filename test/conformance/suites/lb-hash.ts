// Hashes, rings and Maglev tables with known answers, and the hosts that Envoy chose for recorded keys: those go through
// a whole cluster and a route's hash policy.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { xxh64 } from '../../../src/base/hash.ts'
import { request, routes, streamInfo } from '../../../src/proxy/route/testing.ts'
import { buildMaglevTable } from '../../../src/proxy/upstream/lb/maglev.ts'
import { buildRing } from '../../../src/proxy/upstream/lb/ring-hash.ts'
import { chosen, clusterData, endpoint, endpointsData, TestClusters } from '../../../src/proxy/upstream/testing.ts'
import type { Difference, Suite } from '../suite.ts'

type Case = { readonly id: string } & (
  | { readonly kind: 'xxh64'; readonly input: string; readonly seed: string; readonly hash: string }
  | {
      readonly kind: 'ring'
      readonly hosts: readonly string[]
      readonly minRingSize: number
      readonly ring: readonly { hash: string; host: string }[]
    }
  | {
      readonly kind: 'maglev-table'
      readonly hosts: readonly { key: string; weight: number }[]
      readonly tableSize: number
      readonly table: readonly number[]
    }
  | {
      readonly kind: 'envoy-choice'
      readonly cluster: Readonly<Record<string, unknown>>
      readonly hosts: readonly { hashKey: string; weight: number }[]
      readonly hashPolicy: readonly unknown[]
      readonly picks: Readonly<Record<string, string>>
    }
)

function check(test: Case): string | null {
  switch (test.kind) {
    case 'xxh64': {
      const hash = xxh64(test.input, BigInt(test.seed)).toString()
      return hash === test.hash ? null : `hash ${hash}, not ${test.hash}`
    }
    case 'ring': {
      const hosts = test.hosts.map((key) => ({ key, normalizedWeight: 1 / test.hosts.length }))
      const ring = buildRing(hosts, test.minRingSize, 8 * 1024 * 1024, xxh64)
      const got = Array.from(ring.hashes, (hash, i) => `${hash} ${test.hosts[ring.owners[i]!]}`).join()
      return got === test.ring.map(({ hash, host }) => `${hash} ${host}`).join() ? null : `ring ${got}`
    }
    case 'maglev-table': {
      const total = test.hosts.reduce((sum, host) => sum + host.weight, 0)
      const hosts = test.hosts.map(({ key, weight }) => ({ key, normalizedWeight: weight / total }))
      const table = [...buildMaglevTable(hosts, test.tableSize)]
      return table.join() === test.table.join() ? null : `table ${table}, not ${test.table}`
    }
    case 'envoy-choice':
      return checkChoices(test)
  }
}

function checkChoices(test: Extract<Case, { kind: 'envoy-choice' }>): string | null {
  const data = clusterData({ name: 'c', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } }, ...test.cluster })
  const hosts = test.hosts.map(({ hashKey, weight }, i) =>
    endpoint(1000 + i, {
      load_balancing_weight: weight,
      metadata: { filter_metadata: { 'envoy.lb': { hash_key: hashKey } } },
    }),
  )
  const cluster = new TestClusters().add(
    data,
    endpointsData({ cluster_name: 'c', endpoints: [{ lb_endpoints: hosts }] }),
  )
  const table = routes([{ match: { prefix: '/' }, route: { cluster: 'c', hash_policy: test.hashPolicy } }])
  for (const [key, expected] of Object.entries(test.picks)) {
    const headers = request('/', { 'x-key': key })
    const policy = table.route(headers, streamInfo(), 0)!.forward!.hashPolicy!
    const hash = policy.hash(headers, streamInfo(), { addSetCookie() {} })
    const port = Number(chosen(cluster, { hash })?.split(':')[1])
    const got = test.hosts[port - 1000]?.hashKey
    if (got !== expected) return `${key} goes to ${got}, Envoy chose ${expected}`
  }
  return null
}

export const suite: Suite = {
  name: 'lb-hash',
  async run(dataDirectory) {
    const file = JSON.parse(await readFile(join(dataDirectory, 'conformance/lb-hash.json'), 'utf8')) as {
      readonly cases: readonly Case[]
    }
    const differences: Difference[] = []
    for (const test of file.cases) {
      const message = check(test)
      if (message !== null) differences.push({ id: test.id, message })
    }
    return { total: file.cases.length, differences }
  },
}
