// Seeded mutation of what configures the proxy: bootstraps as JSON and YAML, and resources as bytes and as fields. Whatever
// comes in is accepted or refused as ConfigError, and what is accepted can be sent to a worker and used.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { create, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf'
import { stringify } from 'yaml'
import { ClusterSchema } from '../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../src/api/gen/envoy/config/route/v3/route_pb.js'
import { HttpConnectionManagerSchema } from '../../src/api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { SecretSchema } from '../../src/api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { loadBootstrap } from '../../src/proxy/config/load-bootstrap.ts'
import { TestCa } from '../../src/proxy/network/testing.ts'
import { staticResource } from '../../src/proxy/server/resource.ts'
import { applied, edits, type Json } from '../interop/config/mutate.ts'
import { resourceFiles, richBootstrap } from '../interop/harness/rich-bootstrap.ts'
import { mutate, type Random } from './random.ts'
import { accepted, PARSERS, useRoutes } from './resources.ts'
import { rounds } from './rounds.ts'

const fuzz = rounds(4, 120)

const dir = mkdtempSync(join(tmpdir(), 'fuzz-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const { cert, key, ca } = certificates()
const files = { rds: join(dir, 'rds.json'), eds: join(dir, 'eds.json'), sds: join(dir, 'sds.json') }
for (const [name, text] of Object.entries(resourceFiles(9, cert, key)))
  writeFileSync(files[name as keyof typeof files], text)
const surroundings = { upstream: 9, upstreamHttp2: 9, ca, cert, key, files }
const base = JSON.parse(
  JSON.stringify(
    richBootstrap({ ...surroundings, listeners: [1001, 1002, 1003] })({
      listener: 1000,
      admin: 1004,
      accessLog: '/log',
    }),
  ),
) as Json
const allEdits = edits(base, 3)

function certificates(): { cert: string; key: string; ca: string } {
  const clean: (() => void)[] = []
  const authority = new TestCa({ after: (done: () => void) => clean.push(done) })
  const issued = { ...authority.issue('DNS:a.example'), ca: authority.cert }
  for (const done of clean) done()
  return issued
}

/** A few edits one after another; one that no longer fits is left out. */
function edited(random: Random): Json {
  let config = base
  for (let count = 1 + random.below(3); count > 0; count--) {
    const edit = random.pick(allEdits)
    try {
      config = applied(config, edit)
    } catch (error) {
      // The message that it was for is gone.
      if (!(error instanceof TypeError)) throw error
    }
  }
  return config
}

/** Every resource of one bootstrap, as bytes. Throws ConfigError. */
function resourcesOf(config: Json): (readonly [kind: string, body: Uint8Array])[] {
  const { staticResources } = loadBootstrap({ yaml: JSON.stringify(config), allowUnknownFields: false })
  const out: (readonly [string, Uint8Array])[] = []
  const add = <Desc extends DescMessage>(kind: string, desc: Desc, message: Message): void => {
    out.push([kind, toBinary(desc, message as never)])
  }
  for (const listener of staticResources?.listeners ?? []) {
    add('listener', ListenerSchema, listener)
    for (const { typedConfig } of listener.filterChains
      .flatMap(({ filters }) => filters)
      .map((f) => f.configType)
      .map((c) => ({ typedConfig: c.case === 'typedConfig' ? c.value : null }))) {
      if (!typedConfig?.typeUrl.endsWith(HttpConnectionManagerSchema.typeName)) continue
      const { routeSpecifier } = fromBinary(HttpConnectionManagerSchema, typedConfig.value)
      if (routeSpecifier.case === 'routeConfig') add('route', RouteConfigurationSchema, routeSpecifier.value)
    }
  }
  for (const cluster of staticResources?.clusters ?? []) {
    add('cluster', ClusterSchema, cluster)
    if (cluster.loadAssignment) add('endpoints', ClusterLoadAssignmentSchema, cluster.loadAssignment)
  }
  for (const secret of staticResources?.secrets ?? [])
    out.push(['secret', staticResource(SecretSchema, 's', secret).body])
  const pem = (text: string) => ({ specifier: { case: 'inlineString' as const, value: text } })
  add(
    'secret',
    SecretSchema,
    create(SecretSchema, {
      name: 's',
      type: { case: 'tlsCertificate', value: { certificateChain: pem(cert), privateKey: pem(key) } },
    }),
  )
  return out
}

function parseAll(config: Json): void {
  for (const [kind, body] of resourcesOf(config)) {
    // A resource that is refused leaves the others as they are.
    accepted(() => structuredClone(PARSERS[kind]![1](body)))
  }
}

test('a bootstrap of any edits is refused with its field or parsed', () => {
  fuzz((random) => {
    const config = edited(random)
    accepted(() => parseAll(config))
  })
})

const TEXT_TOKENS = [
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '"',
  '\n',
  '  ',
  '- ',
  '&a ',
  '*a',
  '<<: ',
  '!!js ',
  '|',
  'null',
  '1e999',
  '\\u0000',
  '#',
  '@type',
].map((token) => Buffer.from(token))

test('a bootstrap of any bytes is refused or parsed', () => {
  const texts = [['json', JSON.stringify(base)] as const, ['yaml', stringify(base)] as const]
  fuzz((random) => {
    const [extension, text] = random.pick(texts)
    // Most edits of a long text hit one place; a short stretch of it is hit everywhere.
    const from = random.next() < 0.5 ? 0 : random.below(text.length)
    const bytes = mutate(random, Buffer.from(text.slice(from, from + random.below(text.length))), TEXT_TOKENS)
    const path = join(dir, `bootstrap.${extension}`)
    writeFileSync(path, random.next() < 0.5 ? bytes : mutate(random, Buffer.from(text), TEXT_TOKENS))
    accepted(() => loadBootstrap({ path, allowUnknownFields: random.next() < 0.5 }))
  })
})

const BINARY_TOKENS = [
  [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
  [0x08, 0xff],
  [0x0b],
  [0x0c],
  [0x12, 0x00],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
].map((token) => Buffer.from(token))

test('a resource of any bytes is refused or parsed', () => {
  const bodies = resourcesOf(base)
  assert.deepEqual([...new Set(bodies.map(([kind]) => kind))].sort(), Object.keys(PARSERS).sort())
  fuzz((random) => {
    for (let i = 0; i < 10; i++) {
      const [kind, body] = random.pick(bodies)
      const bytes = mutate(random, Buffer.from(body), BINARY_TOKENS)
      accepted(() => structuredClone(PARSERS[kind]![1](bytes)))
    }
  })
})

const REGEXES = [
  '/a/.*',
  '(a|b)+c?',
  '[a-z]{1,20}/[^/]+',
  '(?i)^/x(?P<n>y)*$',
  '\\d+\\.\\pL',
  '(a*)*b',
  '.*.*.*x',
  'a{1000}',
]
const REGEX_TOKENS = [
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
  '{2,}',
  '*',
  '+',
  '?',
  '|',
  '\\',
  '^',
  '$',
  '.',
  '(?',
  '(?i)',
  '\\b',
  '\\pN',
  'a{999}',
  '[^',
].map((token) => Buffer.from(token))

test('route regexes match in linear time or are refused', () => {
  fuzz((random) => {
    const regex = mutate(random, Buffer.from(random.pick(REGEXES)), REGEX_TOKENS).toString('latin1')
    const body = toBinary(
      RouteConfigurationSchema,
      create(RouteConfigurationSchema, {
        name: 'r',
        virtualHosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: [
              {
                match: { pathSpecifier: { case: 'safeRegex', value: { regex } } },
                action: {
                  case: 'route',
                  value: {
                    clusterSpecifier: { case: 'cluster', value: 'c' },
                    regexRewrite: {
                      pattern: { regex },
                      substitution: mutate(random, Buffer.from('/x\\1\\0'), REGEX_TOKENS).toString('latin1'),
                    },
                  },
                },
              },
            ],
          },
        ],
      }),
    )
    accepted(() => useRoutes(body))
  })
})
