// A whole proxy against a real ADS server and real upstreams, on loopback.

import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect as tlsConnect } from 'node:tls'
import { connectTo, serve, until } from '../../xds/testing.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import { TestCa } from '../network/testing.ts'
import type { ProxyOptions, Proxy as RunningProxy } from './options.ts'
import { startProxy } from './start-proxy.ts'
import { ADS, ControlPlane, cluster, endpoints, listener, ROUTER, routes, testOptions } from './testing.ts'

async function upstream(t: TestContext, answer: string): Promise<number> {
  const server: Server = createServer((_, response) => response.end(answer))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function start(t: TestContext, bootstrap: object, over: Partial<ProxyOptions> = {}): Promise<RunningProxy> {
  const proxy = await startProxy({ ...testOptions(bootstrap), ...over })
  t.after(() => proxy.stop())
  return proxy
}

const DYNAMIC = {
  node: { id: 'sidecar~10.0.0.1~a.b~b.svc.cluster.local', cluster: 'a.b' },
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
  dynamic_resources: { cds_config: ADS, lds_config: ADS },
}

const DELTA = {
  ...DYNAMIC,
  dynamic_resources: {
    ...DYNAMIC.dynamic_resources,
    ads_config: { api_type: 'DELTA_GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] },
  },
}

async function mesh(
  t: TestContext,
  concurrency: number,
  bootstrap: object = DYNAMIC,
): Promise<{ plane: ControlPlane; proxy: RunningProxy; port: number; a: number; b: number }> {
  const plane = new ControlPlane()
  const { port: xdsPort, close } = await serve(plane)
  t.after(close)
  const [a, b, port] = await Promise.all([upstream(t, 'a'), upstream(t, 'b'), freePort()])
  plane.put(CDS_TYPE, 'a', cluster('a'))
  plane.put(EDS_TYPE, 'a', endpoints('a', a))
  plane.put(LDS_TYPE, 'l', listener('l', port))
  plane.put(RDS_TYPE, 'r', routes('r', 'a'))
  const proxy = await start(t, bootstrap, { adsTransport: connectTo(xdsPort), concurrency })
  await until(() => proxy.state === 'LIVE', 'LIVE')
  return { plane, proxy, port, a, b }
}

interface Answer {
  readonly status: number
  readonly body: string
}

function get(port: number, agent?: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request(
      { port, host: '127.0.0.1', path: '/', ...(agent ? { agent } : { agent: false }) },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks).toString() }))
        response.on('error', reject)
      },
    )
    call.on('error', reject)
    call.end()
  })
}

for (const concurrency of [1, 2]) {
  test(`${concurrency} worker(s): CDS, EDS, LDS, RDS in order lead to LIVE`, async (t) => {
    const { plane, proxy, port } = await mesh(t, concurrency)
    assert.deepEqual(await get(port), { status: 200, body: 'a' })
    const first = (type: string): number => plane.events.findIndex((event) => event.startsWith(`subscribe ${type}`))
    assert.ok(first('Cluster') < first('ClusterLoadAssignment'))
    assert.ok(first('ClusterLoadAssignment') < first('Listener'))
    assert.ok(first('Listener') < first('RouteConfiguration'))
    const dump = await fetch(`http://${proxy.adminAddress}/config_dump?include_eds`)
    assert.match(await dump.text(), /dynamic_route_configs/)
  })

  test(`${concurrency} worker(s): every kind of update under load breaks no request`, async (t) => {
    const { plane, port, b } = await mesh(t, concurrency)
    const agent = new Agent({ keepAlive: true, maxSockets: 4 })
    t.after(() => agent.destroy())
    let stop = false
    let served = 0
    const failures: string[] = []
    const client = async (): Promise<void> => {
      while (!stop) {
        const { status, body } = await get(port, agent).catch((error: Error) => ({ status: 0, body: error.message }))
        served++
        if (status !== 200) failures.push(`${status} ${body}`)
      }
    }
    const clients = [client(), client(), client(), client()]
    const more = async (): Promise<void> => {
      const goal = served + 20
      await until(() => served >= goal, 'requests between updates')
    }
    await more()
    const acked = async (type: string, change: () => void): Promise<void> => {
      const before = plane.count(`ack ${type}`)
      change()
      await until(() => plane.count(`ack ${type}`) > before, `ack of ${type}`)
      await more()
    }
    plane.put(EDS_TYPE, 'b', endpoints('b', b))
    await acked('Cluster', () => plane.push(CDS_TYPE, 'b', cluster('b')))
    await acked('RouteConfiguration', () => plane.push(RDS_TYPE, 'r', routes('r', 'b')))
    await until(() => plane.events.includes('ack ClusterLoadAssignment'), 'endpoints')
    assert.deepEqual(await get(port), { status: 200, body: 'b' })
    await acked('Listener', () => plane.push(LDS_TYPE, 'l', listener('l', port, { server_name: 'changed' })))
    await acked('Listener', () =>
      plane.push(LDS_TYPE, 'l', { ...listener('l', port), per_connection_buffer_limit_bytes: 65536 }),
    )
    await acked('Cluster', () => plane.push(CDS_TYPE, 'b', { ...cluster('b'), connect_timeout: '2s' }))
    await acked('Cluster', () => plane.drop(CDS_TYPE, 'a'))
    stop = true
    await Promise.all(clients)
    assert.deepEqual(failures, [])
  })
}

/** Whether a client that trusts everybody gets a TLS connection. */
function handshake(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(true)
      socket.destroy()
    })
    socket.on('error', () => resolve(false))
  })
}

test('what is refused is NACKed by name and the last good one keeps serving', async (t) => {
  const { plane, proxy, port } = await mesh(t, 2)
  const nacked = async (type: string, change: () => void): Promise<string> => {
    const before = plane.events.length
    change()
    const find = (): string | undefined => plane.events.slice(before).find((event) => event.startsWith(`nack ${type}`))
    await until(() => find() !== undefined, `nack of ${type}`)
    return find()!
  }
  const bad = { ...listener('l', port), tcp_fast_open_queue_length: 5 }
  assert.match(
    await nacked('Listener', () => plane.push(LDS_TYPE, 'l', bad)),
    /l: tcp_fast_open_queue_length: not supported/,
  )
  assert.match(
    await nacked('Cluster', () => plane.push(CDS_TYPE, 'a', { ...cluster('a'), connect_timeout: '-1s' })),
    /connect_timeout/,
  )
  assert.match(
    await nacked('RouteConfiguration', () =>
      plane.push(RDS_TYPE, 'r', { name: 'r', virtual_hosts: [{ name: '', domains: [] }] }),
    ),
    /virtual_hosts/,
  )
  assert.deepEqual(await get(port), { status: 200, body: 'a' })
  const dump = await (await fetch(`http://${proxy.adminAddress}/config_dump?resource=dynamic_listeners`)).text()
  assert.match(dump, /error_state/)
})

const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault'
const abort = (http_status: number): object => ({
  '@type': FAULT,
  abort: { http_status, percentage: { numerator: 100 } },
})

for (const delta of [false, true]) {
  test(`ECDS, ${delta ? 'delta' : 'state of the world'}: a filter follows its resource, a refused one changes nothing`, async (t) => {
    const { plane, proxy, port } = await mesh(t, 2, delta ? DELTA : DYNAMIC)
    const withFilter = ({
      name,
      ...config_discovery
    }: { readonly name: string } & Readonly<Record<string, unknown>>): object =>
      listener('l', port, { http_filters: [{ name, config_discovery }, ROUTER] })
    const status = async (): Promise<number> => (await get(port)).status
    const served = async (type: string, name: string, resource: object, want: number): Promise<void> => {
      plane.push(type, name, resource)
      await becomes(want)
    }
    const becomes = async (want: number): Promise<void> => {
      for (let i = 0; i < 200 && (await status()) !== want; i++) await new Promise((done) => setTimeout(done, 10))
      assert.equal(await status(), want)
    }
    // The listener of before serves until the configuration of the new one is there.
    const forEver = { ...ADS, initial_fetch_timeout: '0s' }
    const ext = { name: 'ext', config_source: forEver, type_urls: [FAULT] }
    plane.push(LDS_TYPE, 'l', withFilter(ext))
    await until(
      () => plane.events.some((event) => /^subscribe TypedExtensionConfig .*\+ext/.test(event)),
      'subscription',
    )
    assert.equal(await status(), 200)
    await served(ECDS_TYPE, 'ext', { name: 'ext', typed_config: abort(418) }, 418)
    await served(ECDS_TYPE, 'ext', { name: 'ext', typed_config: abort(419) }, 419)

    const other = { '@type': FAULT.replaceAll('fault.v3.HTTPFault', 'buffer.v3.Buffer'), max_request_bytes: 5 }
    plane.push(ECDS_TYPE, 'ext', { name: 'ext', typed_config: other })
    await until(() => plane.events.some((event) => /nack TypedExtensionConfig .*but expect/.test(event)), 'nack')
    assert.equal(await status(), 419)
    const dump = await (await fetch(`http://${proxy.adminAddress}/config_dump?resource=ecds_filters`)).text()
    assert.match(dump, /"http_status": ?419/)
    const stats = await (await fetch(`http://${proxy.adminAddress}/stats?filter=extension_config`)).text()
    assert.match(stats, /http_filter\.ext\.config_reload: 2\n/)
    assert.match(stats, /http_filter\.ext\.config_fail: 1\n/)

    // Without a resource its default serves; without that, nobody may pass.
    if (delta) {
      plane.drop(ECDS_TYPE, 'ext')
      await becomes(500)
    }
    const late = { name: 'late', type_urls: [FAULT] }
    const config_source = { ...ADS, initial_fetch_timeout: '0.05s' }
    await served(LDS_TYPE, 'l', withFilter({ ...late, config_source, default_config: abort(420) }), 420)
    await served(LDS_TYPE, 'l', withFilter({ ...late, config_source }), 500)
  })
}

test('a port that is taken is NACKed', async (t) => {
  const { plane } = await mesh(t, 1)
  const taken = await upstream(t, 'taken')
  plane.push(LDS_TYPE, 'other', listener('other', taken))
  await until(() => plane.events.some((event) => /nack Listener .*EADDRINUSE/.test(event)), 'nack')
})

test('a listener that is removed stops accepting', async (t) => {
  const { plane, port } = await mesh(t, 2)
  plane.drop(LDS_TYPE, 'l')
  const refused = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.on('connect', () => {
        socket.destroy()
        resolve(false)
      })
      socket.on('error', () => resolve(true))
    })
  const before = Date.now()
  while (!(await refused())) if (Date.now() - before > 10_000) assert.fail('still accepting')
})

test('static bootstraps that cannot be served are refused with a path', async () => {
  const bad = (listeners: object[]) => startProxy(testOptions({ static_resources: { listeners } }))
  const address = { socket_address: { address: '127.0.0.1', port_value: 0 } }
  await assert.rejects(bad([{ name: 'l', address }]), /static_resources\.listeners\[0\].*no filter chains/)
  const unknown = { name: 'x', typed_config: { '@type': ROUTER.typed_config['@type'] } }
  await assert.rejects(
    bad([{ name: 'l', address, filter_chains: [{ filters: [unknown] }] }]),
    /filters\[0\].*no network filter extension "x"/,
  )
})

test('a proxy that cannot start leaves nothing open', async () => {
  const port = await freePort()
  const admin = { address: { socket_address: { address: '127.0.0.1', port_value: port } } }
  const bad = startProxy(testOptions({ admin, static_resources: { listeners: [{ name: 'l' }] } }))
  await assert.rejects(bad, /static_resources\.listeners\[0\]/)
  await assert.rejects(fetch(`http://127.0.0.1:${port}/ready`))
})

test('every type can come from files; a replaced file takes effect, a broken one changes nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-files-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [a, b, port] = await Promise.all([upstream(t, 'a'), upstream(t, 'b'), freePort()])
  const path = (name: string): string => join(folder, `${name}.json`)
  const type = (name: string): string => `type.googleapis.com/envoy.config.${name}`
  const write = (name: string, typeName: string, ...resources: object[]): void => {
    const text = JSON.stringify({ resources: resources.map((resource) => ({ '@type': type(typeName), ...resource })) })
    writeFileSync(`${path(name)}.new`, text)
    renameSync(`${path(name)}.new`, path(name))
  }
  const from = (name: string) => ({ path_config_source: { path: path(name) }, resource_api_version: 'V3' })
  write('eds', 'endpoint.v3.ClusterLoadAssignment', endpoints('a', a))
  write('cds', 'cluster.v3.Cluster', { ...cluster('a'), eds_cluster_config: { eds_config: from('eds') } })
  write('rds', 'route.v3.RouteConfiguration', routes('r', 'a'))
  const rds = { route_config_name: 'r', config_source: from('rds') }
  write('lds', 'listener.v3.Listener', listener('l', port, { rds }))
  const proxy = await start(t, { dynamic_resources: { cds_config: from('cds'), lds_config: from('lds') } })
  await until(() => proxy.state === 'LIVE', 'LIVE')
  assert.equal((await get(port)).body, 'a')
  write('eds', 'endpoint.v3.ClusterLoadAssignment', endpoints('a', b))
  while ((await get(port)).body !== 'b');
  writeFileSync(path('lds'), '{ "resources": [{')
  write('rds', 'route.v3.RouteConfiguration', routes('r', 'missing'))
  while ((await get(port)).status !== 503);
})

test('a certificate that rotates on disk takes effect; a pair that does not fit is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-certs-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const ca = new TestCa(t)
  const [first, second] = [ca.issue('DNS:first.example'), ca.issue('DNS:second.example')]
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text)
  const replace = (name: string, text: string): void => {
    write(`${name}.new`, text)
    renameSync(join(folder, `${name}.new`), join(folder, name))
  }
  write('cert.pem', first.cert)
  write('key.pem', first.key)
  const file = (name: string) => ({ filename: join(folder, name) })
  const secret = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
    name: 'server',
    tls_certificate: { certificate_chain: file('cert.pem'), private_key: file('key.pem') },
  }
  write('sds.json', JSON.stringify({ resources: [secret] }))
  const port = await freePort()
  const proxy = await start(t, {
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: { socket_address: { address: '127.0.0.1', port_value: port } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'echo',
                  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo' },
                },
              ],
              transport_socket: {
                name: 'tls',
                typed_config: {
                  '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
                  common_tls_context: {
                    tls_certificate_sds_secret_configs: [
                      {
                        name: 'server',
                        sds_config: {
                          path_config_source: { path: join(folder, 'sds.json') },
                          resource_api_version: 'V3',
                        },
                      },
                    ],
                  },
                },
              },
            },
          ],
        },
      ],
    },
  })
  await until(() => proxy.state === 'LIVE', 'LIVE')
  const served = (): Promise<string | undefined> =>
    new Promise((resolve, reject) => {
      const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().subjectaltname)
        socket.destroy()
      })
      socket.on('error', reject)
    })
  assert.equal(await served(), 'DNS:first.example')
  // Half of a rotation: the key does not fit yet.
  replace('cert.pem', second.cert)
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.equal(await served(), 'DNS:first.example')
  replace('key.pem', second.key)
  while ((await served()) !== 'DNS:second.example');
})

test('secrets that OpenSSL does not take are refused; the last good ones serve, and are shown', async (t) => {
  const ca = new TestCa(t)
  const { cert, key } = ca.issue('DNS:a.example')
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-secrets-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return { filename: join(folder, name) }
  }
  const { plane, proxy } = await mesh(t, 1)
  plane.put(SDS_TYPE, 'cert', {
    name: 'cert',
    tls_certificate: { certificate_chain: file('cert.pem', cert), private_key: file('key.pem', key) },
  })
  const validation = (inline_string: string) => ({ name: 'ca', validation_context: { trusted_ca: { inline_string } } })
  plane.put(SDS_TYPE, 'ca', validation(ca.cert))
  const port = await freePort()
  const sds = (name: string) => ({ name, sds_config: ADS })
  const tls = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
    common_tls_context: {
      tls_certificate_sds_secret_configs: [sds('cert')],
      validation_context_sds_secret_config: sds('ca'),
    },
  }
  const { filter_chains, ...rest } = listener('secure', port)
  const secured = { ...filter_chains[0], transport_socket: { name: 'tls', typed_config: tls } }
  plane.push(LDS_TYPE, 'secure', { ...rest, filter_chains: [secured] })
  const admin = async (path: string) => (await fetch(`http://${proxy.adminAddress}${path}`)).text()
  while (!(await handshake(port)));

  const nacked = () => plane.events.filter((event) => event.startsWith('nack Secret'))
  plane.push(SDS_TYPE, 'ca', validation('no certificate'))
  await until(() => nacked().length === 1, 'the NACK')
  assert.match(nacked()[0]!, /ca: validation_context: Failed to load trusted CA certificates/)
  plane.push(SDS_TYPE, 'ca', validation(`${ca.cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`))
  await until(() => nacked().length === 2, 'the second NACK')
  assert.match(nacked()[1]!, /object 2 cannot be read/)
  plane.push(SDS_TYPE, 'cert', { name: 'cert', tls_certificate: {} })
  await until(() => nacked().length === 3, 'the third NACK')
  assert.ok(await handshake(port))

  // The pages show what connections use, whatever has become of the files.
  rmSync(folder, { recursive: true })
  const certs = JSON.parse(await admin('/certs')) as { certificates: { cert_chain: { path: string }[] }[] }
  assert.deepEqual(
    certs.certificates.flatMap(({ cert_chain }) => cert_chain.map(({ path }) => path)),
    [join(folder, 'cert.pem')],
  )
  assert.match(await admin('/stats'), /server\.days_until_first_cert_expiring: \d+/)
})

test('SDS of a server whose cluster came by CDS', async (t) => {
  const { cert, key } = new TestCa(t).issue('DNS:a.example')
  const secrets = new ControlPlane()
  secrets.put(SDS_TYPE, 'sds://own', {
    name: 'sds://own',
    tls_certificate: { certificate_chain: { inline_string: cert }, private_key: { inline_string: key } },
  })
  const server = await serve(secrets, 0, 'sds')
  t.after(server.close)
  const { plane } = await mesh(t, 1)
  const external = { name: 'sds-external', type: 'STATIC', load_assignment: endpoints('sds-external', server.port) }
  plane.push(CDS_TYPE, 'sds-external', external)
  const port = await freePort()
  const api_config_source = {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: 'sds-external' } }],
  }
  const tls = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
    common_tls_context: {
      tls_certificate_sds_secret_configs: [
        { name: 'sds://own', sds_config: { api_config_source, resource_api_version: 'V3' } },
      ],
    },
  }
  const { filter_chains, ...rest } = listener('secure', port)
  const secured = { ...filter_chains[0], transport_socket: { name: 'tls', typed_config: tls } }
  plane.push(LDS_TYPE, 'secure', { ...rest, filter_chains: [secured] })
  const refused = () => plane.events.filter((event) => event.startsWith('nack'))
  while (!(await handshake(port))) assert.deepEqual(refused(), [])
})

test('a name of megabytes is refused, in a few words', async (t) => {
  const { plane, port } = await mesh(t, 1)
  const name = 'x'.repeat(8 << 20)
  plane.push(CDS_TYPE, name, cluster(name))
  const refused = () => plane.events.find((event) => event.startsWith('nack Cluster'))
  await until(() => refused() !== undefined, 'the NACK')
  assert.ok(refused()!.length < 20_000, `${refused()!.length} characters`)
  assert.deepEqual(await get(port), { status: 200, body: 'a' })
})
