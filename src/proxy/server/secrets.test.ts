// Which secrets are asked for, and where: while something names them, and no longer.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { connectTo, serve, until } from '../../xds/testing.ts'
import { CDS_TYPE, LDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import { TestCa } from '../network/testing.ts'
import type { Proxy as RunningProxy } from './options.ts'
import { startProxy } from './start-proxy.ts'
import { ADS, ControlPlane, endpoints, testOptions } from './testing.ts'

const BOOTSTRAP = {
  node: { id: 'one', cluster: 'a' },
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
  dynamic_resources: { cds_config: ADS, lds_config: ADS },
}
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3'

async function start(t: TestContext): Promise<{ plane: ControlPlane; proxy: RunningProxy }> {
  const plane = new ControlPlane()
  const { port, close } = await serve(plane)
  t.after(close)
  const proxy = await startProxy({ ...testOptions(BOOTSTRAP), adsTransport: connectTo(port) })
  t.after(() => proxy.stop())
  await until(() => proxy.state === 'LIVE', 'LIVE')
  return { plane, proxy }
}

/** A server of secrets alone. */
async function serveSecrets(t: TestContext): Promise<{ plane: ControlPlane; source: object; cluster: object }> {
  const plane = new ControlPlane()
  const { port, close } = await serve(plane, 0, 'sds')
  t.after(close)
  const name = `sds-${port}`
  const api_config_source = {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: name } }],
  }
  return {
    plane,
    source: { api_config_source, resource_api_version: 'V3' },
    cluster: { name, type: 'STATIC', load_assignment: endpoints(name, port) },
  }
}

const commonTls = (name: string, sds_config: object): object => ({
  tls_certificate_sds_secret_configs: [{ name, sds_config }],
})

/** Answers over TLS with the certificate of this secret, at a port of the kernel's choice. */
function listener(name: string, secret: string, source: object, extra: object = {}): object {
  const typed_config = { '@type': `${TLS}.DownstreamTlsContext`, common_tls_context: commonTls(secret, source) }
  const echo = { '@type': 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo' }
  return {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
    filter_chains: [{ filters: [{ name: 'e', typed_config: echo }], transport_socket: { name: 'tls', typed_config } }],
    ...extra,
  }
}

function cluster(name: string, secret: string, source: object, extra: object = {}): object {
  const typed_config = { '@type': `${TLS}.UpstreamTlsContext`, common_tls_context: commonTls(secret, source) }
  const transport_socket = { name: 'tls', typed_config }
  return { name, type: 'STATIC', load_assignment: endpoints(name, 1), transport_socket, ...extra }
}

const admin = async (proxy: RunningProxy, path: string): Promise<string> =>
  (await fetch(`http://${proxy.adminAddress}${path}`)).text()

/** Names in /config_dump, by what they are. */
async function shown(proxy: RunningProxy): Promise<{ active: string[]; warming: string[] }> {
  const dump = JSON.parse(await admin(proxy, '/config_dump')) as {
    configs: {
      '@type': string
      dynamic_active_secrets?: { name: string }[]
      dynamic_warming_secrets?: { name: string }[]
    }[]
  }
  const secrets = dump.configs.find((config) => config['@type'].endsWith('SecretsConfigDump'))
  const names = (list: { name: string }[] = []): string[] => list.map(({ name }) => name).sort()
  return { active: names(secrets?.dynamic_active_secrets), warming: names(secrets?.dynamic_warming_secrets) }
}

/** Waits for a listener and says for whom its certificate is. */
async function served(proxy: RunningProxy, name: string): Promise<string> {
  let port = 0
  while (port === 0)
    port = Number(new RegExp(`${name}::127.0.0.1:(\\d+)`).exec(await admin(proxy, '/listeners'))?.[1] ?? 0)
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().subjectaltname ?? '')
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

function certificate(t: TestContext, name: string, san: string): object {
  const { cert, key } = new TestCa(t).issue(`DNS:${san}`)
  return {
    name,
    tls_certificate: { certificate_chain: { inline_string: cert }, private_key: { inline_string: key } },
  }
}

test('a secret over ADS is asked for while a listener or cluster names it, and again when one does later', async (t) => {
  const { plane, proxy } = await start(t)
  const asked = (): string[] => [...(plane.connection?.watched(SDS_TYPE)?.names ?? [])].sort()
  plane.put(SDS_TYPE, 'cert', certificate(t, 'cert', 'first.example'))
  plane.put(SDS_TYPE, 'other', certificate(t, 'other', 'other.example'))
  plane.push(LDS_TYPE, 'l', listener('l', 'cert', ADS))
  plane.push(CDS_TYPE, 'c', cluster('c', 'cert', ADS))
  assert.equal(await served(proxy, 'l'), 'DNS:first.example')
  assert.deepEqual((await shown(proxy)).active, ['cert'])

  // The cluster still names it.
  plane.push(LDS_TYPE, 'l', listener('l', 'other', ADS))
  while ((await served(proxy, 'l')) !== 'DNS:other.example');
  assert.deepEqual((await shown(proxy)).active, ['cert', 'other'])
  assert.deepEqual(asked(), ['cert', 'other'])

  plane.push(CDS_TYPE, 'c', cluster('c', 'other', ADS))
  await until(() => !asked().includes('cert'), 'the end of the subscription')
  assert.deepEqual((await shown(proxy)).active, ['other'])
  assert.doesNotMatch(await admin(proxy, '/stats'), /^sds\.cert\./m)

  plane.drop(LDS_TYPE, 'l')
  plane.drop(CDS_TYPE, 'c')
  await until(() => asked().length === 0, 'the end of the last subscription')
  assert.deepEqual(await shown(proxy), { active: [], warming: [] })

  plane.put(SDS_TYPE, 'cert', certificate(t, 'cert', 'second.example'))
  plane.push(LDS_TYPE, 'l', listener('l', 'cert', ADS))
  assert.equal(await served(proxy, 'l'), 'DNS:second.example')
  assert.match(await admin(proxy, '/stats'), /^sds\.cert\.update_success: 1$/m)
})

test('a listener or cluster that is refused, or replaced before its secret has come, leaves no subscription', async (t) => {
  const { plane, proxy } = await start(t)
  const nacked = (): number => plane.count('nack')
  plane.push(LDS_TYPE, 'l', listener('l', 'never', ADS, { connection_balance_config: { extend_balance: {} } }))
  await until(() => nacked() === 1, 'the refusal')
  // Two secrets, the second of which nobody delivers.
  const nobody = {
    api_config_source: {
      api_type: 'GRPC',
      transport_api_version: 'V3',
      grpc_services: [{ google_grpc: { target_uri: 'x', stat_prefix: 'x' } }],
    },
  }
  const combined = {
    ...commonTls('never', ADS),
    validation_context_sds_secret_config: { name: 'ca', sds_config: nobody },
  }
  const transport_socket = {
    name: 'tls',
    typed_config: { '@type': `${TLS}.UpstreamTlsContext`, common_tls_context: combined },
  }
  plane.push(CDS_TYPE, 'c', cluster('c', 'never', ADS, { transport_socket }))
  await until(() => nacked() === 2, 'the second refusal')
  assert.deepEqual(await shown(proxy), { active: [], warming: [] })

  plane.push(CDS_TYPE, 'c', cluster('c', 'late', ADS))
  while ((await shown(proxy)).warming.length === 0);
  assert.deepEqual((await shown(proxy)).warming, ['late'])
  plane.put(SDS_TYPE, 'cert', certificate(t, 'cert', 'a.example'))
  plane.push(CDS_TYPE, 'c', cluster('c', 'cert', ADS))
  while ((await shown(proxy)).active.length === 0);
  assert.deepEqual(await shown(proxy), { active: ['cert'], warming: [] })
})

test('a stream of its own ends with the last user of its secret', async (t) => {
  const { plane, proxy } = await start(t)
  const secrets = await serveSecrets(t)
  secrets.plane.put(SDS_TYPE, 'own', certificate(t, 'own', 'a.example'))
  plane.push(CDS_TYPE, 'sds', { ...secrets.cluster })
  await until(() => plane.count('ack Cluster') > 0, 'the cluster')
  plane.push(LDS_TYPE, 'l', listener('l', 'own', secrets.source))
  assert.equal(await served(proxy, 'l'), 'DNS:a.example')
  assert.match(await admin(proxy, '/stats'), /^sds\.own\.control_plane\.connected_state: 1$/m)
  plane.drop(LDS_TYPE, 'l')
  await until(() => secrets.plane.count('disconnect') === 1, 'the end of the stream')
  assert.doesNotMatch(await admin(proxy, '/stats'), /^sds\.own\./m)
  plane.push(LDS_TYPE, 'l', listener('l', 'own', secrets.source))
  assert.equal(await served(proxy, 'l'), 'DNS:a.example')
})

test('secrets of one name at two sources are two secrets', async (t) => {
  const { plane, proxy } = await start(t)
  const secrets = await serveSecrets(t)
  secrets.plane.put(SDS_TYPE, 'same', certificate(t, 'same', 'stream.example'))
  plane.put(SDS_TYPE, 'same', certificate(t, 'same', 'ads.example'))
  plane.push(CDS_TYPE, 'sds', { ...secrets.cluster })
  await until(() => plane.count('ack Cluster') > 0, 'the cluster')
  plane.push(LDS_TYPE, 'l', listener('l', 'same', ADS))
  assert.equal(await served(proxy, 'l'), 'DNS:ads.example')
  plane.push(LDS_TYPE, 'm', listener('m', 'same', secrets.source))
  assert.equal(await served(proxy, 'm'), 'DNS:stream.example')
  assert.equal(await served(proxy, 'l'), 'DNS:ads.example')
  // And one that moves from one to the other.
  plane.push(LDS_TYPE, 'l', listener('l', 'same', secrets.source))
  while ((await served(proxy, 'l')) !== 'DNS:stream.example');
  assert.deepEqual((await shown(proxy)).active, ['same'])
})

test('a file of a secret is read no more when nothing names the secret, and anew when something does', async (t) => {
  const { plane, proxy } = await start(t)
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-sds-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'sds.json')
  const write = (san: string): void =>
    writeFileSync(path, JSON.stringify({ resources: [{ '@type': `${TLS}.Secret`, ...certificate(t, 'file', san) }] }))
  const source = { path_config_source: { path }, resource_api_version: 'V3' }
  write('first.example')
  plane.push(LDS_TYPE, 'l', listener('l', 'file', source))
  assert.equal(await served(proxy, 'l'), 'DNS:first.example')
  plane.drop(LDS_TYPE, 'l')
  while ((await shown(proxy)).active.length > 0);
  write('second.example')
  plane.push(LDS_TYPE, 'l', listener('l', 'file', source))
  assert.equal(await served(proxy, 'l'), 'DNS:second.example')
})
