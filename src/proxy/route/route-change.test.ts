import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import fc from 'fast-check'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { createParseContext, ExtensionRegistry } from '../config/extension-registry.ts'
import { parseJson } from '../config/json.ts'
import { checkRules } from '../config/validate-rules.ts'
import { parseRouteConfiguration } from './parse.ts'
import { type KnownRoutes, knownRoutes, mergeHosts, readRouteChange } from './route-change.ts'
import { changeRouteTable, compileRouteTable } from './route-table.ts'
import { clusterOf, NO_RUNTIME, request } from './testing.ts'

const context = createParseContext(new ExtensionRegistry())

interface Host {
  readonly name: string
  readonly domains: readonly string[]
  readonly cluster: string
  readonly header?: string
}

const hostJson = ({ name, domains, cluster, header }: Host) => ({
  name,
  domains,
  routes: [
    {
      match: { prefix: '/' },
      route: { cluster },
      ...(header ? { response_headers_to_add: [{ header: { key: 'x-round', value: header } }] } : {}),
    },
  ],
})

function bytesOf(hosts: readonly Host[], rest: object = {}): Uint8Array {
  const json = { name: 'r', virtual_hosts: hosts.map(hostJson), ...rest }
  return toBinary(RouteConfigurationSchema, parseJson(RouteConfigurationSchema, json, { path: '' }))
}

/** What a proxy that reads everything anew makes of it; throws ConfigError. */
function parseWhole(body: Uint8Array) {
  const message = fromBinary(RouteConfigurationSchema, body)
  checkRules(RouteConfigurationSchema, message, '')
  return parseRouteConfiguration(message, context)
}

const known = (body: Uint8Array) => knownRoutes(body, parseWhole(body))!
const host = (name: string, header?: string): Host => ({ name, domains: [name], cluster: `c-${name}`, header })
const THREE = [host('a'), host('b'), host('c')]

describe('a change of a route configuration', () => {
  test('reads the virtual host that differs and no other', () => {
    const read = readRouteChange(known(bytesOf(THREE)), bytesOf([host('a'), host('b', '2'), host('c')]), context)
    assert.deepEqual(
      read?.change.config.virtualHosts.map((h) => h.name),
      ['b'],
    )
    assert.deepEqual(read?.change.from, [0, -1, 2])
    assert.equal(read?.change.sameDomains, true)
  })

  test('finds virtual hosts that moved when one was added or is gone', () => {
    const added = readRouteChange(known(bytesOf(THREE)), bytesOf([host('new'), ...THREE]), context)
    assert.deepEqual(added?.change.from, [-1, 0, 1, 2])
    assert.equal(added?.change.sameDomains, false)
    const gone = readRouteChange(known(bytesOf(THREE)), bytesOf([host('b'), host('c')]), context)
    assert.deepEqual(gone?.change.from, [1, 2])
  })

  test('is read whole when another field differs, and when something is wrong or unknown', () => {
    const before = known(bytesOf(THREE))
    const whole = (body: Uint8Array) => assert.equal(readRouteChange(before, body, context), null)
    whole(bytesOf(THREE, { internal_only_headers: ['x-a'] }))
    whole(bytesOf([host('a'), host('b'), { ...host('c'), name: 'a' }]))
    whole(bytesOf([host('a'), host('b'), { ...host('c'), domains: ['A'] }]))
    whole(bytesOf([host('a'), host('b'), { ...host('c'), domains: [] }]))
    whole(bytesOf(THREE).subarray(0, -1))
    const writer = new BinaryWriter().raw(bytesOf(THREE)).tag(9999, WireType.Varint).uint32(1)
    whole(writer.finish())
  })

  test('a table that was changed lets go of the virtual hosts that it no longer has', () => {
    const before = bytesOf(THREE)
    const table = compileRouteTable(parseWhole(before), NO_RUNTIME)
    const { change } = readRouteChange(known(before), bytesOf([host('c')]), context)!
    const changed = changeRouteTable(table, structuredClone(change))
    assert.equal(clusterOf(changed, request('/', {}, 'a')), null)
    assert.equal(clusterOf(changed, request('/', {}, 'c')), 'c-c')
    assert.equal(clusterOf(table, request('/', {}, 'a')), 'c-a')
  })
})

const DOMAINS = ['a', 'b', 'c', 'a.example', '*.example', 'www.*', '*', 'A'] as const
const anyHost: fc.Arbitrary<Host> = fc.record({
  name: fc.constantFrom('v1', 'v2', 'v3', 'v4', 'v5'),
  domains: fc.uniqueArray(fc.constantFrom(...DOMAINS), { minLength: 1, maxLength: 2 }),
  cluster: fc.constantFrom('x', 'y'),
  header: fc.option(fc.constantFrom('1', '2'), { nil: undefined }),
})
const anyTable = fc.uniqueArray(anyHost, { maxLength: 5, selector: (h) => h.name })
const anyRest = fc.constantFrom({}, {}, {}, { ignore_port_in_host_matching: true })

test('property: a sequence of changes is what reading each version whole is', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyTable, anyRest), { minLength: 2, maxLength: 8 }), (versions) => {
      let routes = null as KnownRoutes | null
      let hosts: ReturnType<typeof parseWhole>['virtualHosts'] = []
      let table = compileRouteTable(parseWhole(bytesOf([])), NO_RUNTIME)
      for (const [version, rest] of versions) {
        const body = bytesOf(version, rest)
        let whole: ReturnType<typeof parseWhole> | null = null
        try {
          whole = parseWhole(body)
        } catch {
          // Refused: the last good version stays.
        }
        const read: ReturnType<typeof readRouteChange> = routes === null ? null : readRouteChange(routes, body, context)
        if (whole === null) {
          assert.equal(read, null)
          continue
        }
        if (read) {
          hosts = mergeHosts(hosts, read.change.config.virtualHosts, read.change.from)
          table = changeRouteTable(table, structuredClone(read.change))
          assert.deepEqual({ ...read.change.config, virtualHosts: hosts, clusters: whole.clusters }, whole)
          assert.deepEqual(read.known, knownRoutes(body, whole))
          routes = read.known
        } else {
          hosts = whole.virtualHosts
          table = compileRouteTable(whole, NO_RUNTIME)
          routes = knownRoutes(body, whole)
        }
        const expected = compileRouteTable(whole, NO_RUNTIME)
        for (const authority of ['a', 'b:80', 'c', 'a.example', 'x.example', 'www.b', 'other']) {
          const asked = request('/', {}, authority)
          assert.equal(clusterOf(table, asked), clusterOf(expected, asked), authority)
        }
      }
    }),
    { numRuns: 300 },
  )
})
