// For tests: listeners of a worker without a server around them.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { createLogger } from '../../base/logger.ts'
import type { NetworkFilterExtension, WorkerContext } from '../config/extension.ts'
import { createParseContext, ExtensionRegistry } from '../config/extension-registry.ts'
import { parseJson } from '../config/json.ts'
import { httpInspector } from '../filters/listener/http-inspector/filter.ts'
import { originalDst } from '../filters/listener/original-dst/filter.ts'
import { proxyProtocol } from '../filters/listener/proxy-protocol/filter.ts'
import { tlsInspector } from '../filters/listener/tls-inspector/filter.ts'
import { directResponse } from '../filters/network/direct-response/filter.ts'
import { echo } from '../filters/network/echo/filter.ts'
import { StatsStore } from '../observe/stats-store.ts'
import { Runtime, type RuntimeValue } from '../server/runtime.ts'
import type { Address } from './connection.ts'
import { ConnectionLimits, sharedCount } from './connection-limits.ts'
import { ServerDrain } from './drain.ts'
import { type ListenerConfig, parseListener } from './listener-config.ts'
import { SecretStore } from './tls/secret-store.ts'
import { transportSockets } from './transport-socket.ts'
import { WorkerListeners } from './worker-listeners.ts'

/** The types that tests name in their listeners. */
export const TYPE = {
  echo: 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo',
  directResponse: 'type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config',
  downstreamTls: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
  tlsInspector: 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector',
  httpInspector: 'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector',
  proxyProtocol: 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol',
} as const

function testRegistry(extra: readonly NetworkFilterExtension[] = []): ExtensionRegistry {
  const registry = new ExtensionRegistry()
  for (const extension of transportSockets) registry.register('transport_socket', extension)
  for (const extension of [originalDst, tlsInspector, httpInspector, proxyProtocol])
    registry.register('listener_filter', extension)
  for (const extension of [echo, directResponse, ...extra]) registry.register('network_filter', extension)
  return registry
}

/** The node of test workers. */
export const TEST_NODE = {
  id: 'sidecar~10.0.0.9~a.b~b',
  cluster: 'a.b',
  zone: '',
  metadata: { NAME: 'a', WORKLOAD_NAME: 'a-v1' },
}

export interface TestListeners {
  readonly listeners: WorkerListeners
  readonly stats: StatsStore
  readonly secrets: SecretStore
  /** Parses and applies; the first bound address. */
  apply(listener: object): Promise<Address>
  parse(listener: object): ListenerConfig
}

/** A test, or whoever else says when it is over. */
export interface Cleanup {
  after(close: () => void): void
}

/** Closed when the test ends. */
export function testListeners(
  t: Cleanup,
  options: {
    drainTimeMs?: number
    runtime?: Readonly<Record<string, RuntimeValue>>
    extra?: readonly NetworkFilterExtension[]
  } = {},
): TestListeners {
  const registry = testRegistry(options.extra)
  const stats = new StatsStore()
  const secrets = new SecretStore()
  const runtime = new Runtime(options.runtime ?? {})
  const base = {
    workerIndex: 0,
    concurrency: 1,
    stats,
    runtime,
    node: TEST_NODE,
    log: createLogger('test', 'off'),
    drain: { drainClose: () => false },
    listener: null,
  } as unknown as WorkerContext
  const drain = new ServerDrain(options.drainTimeMs ?? 60_000, true)
  const listeners = new WorkerListeners({
    base,
    registry,
    secrets,
    drain,
    ports: null,
    limits: new ConnectionLimits(runtime, sharedCount()),
  })
  t.after(() => listeners.close())
  const parse = (listener: object): ListenerConfig =>
    parseListener(parseJson(ListenerSchema, listener, { path: '' }), createParseContext(registry), registry)
  return {
    listeners,
    stats,
    secrets,
    parse,
    apply: async (listener) => (await listeners.apply(parse(listener)))[0]!,
  }
}

export function localAddress(port = 0): object {
  return { socket_address: { address: '127.0.0.1', port_value: port } }
}

export function respond(text: string): object {
  return { name: 'respond', typed_config: { '@type': TYPE.directResponse, response: { inline_string: text } } }
}

export interface TestCertificate {
  readonly cert: string
  readonly key: string
}

/** Certificates made by openssl: a CA and leaves signed by it. */
export class TestCa {
  readonly cert: string
  private readonly dir: string
  private leaves = 0

  constructor(t: Cleanup) {
    this.dir = mkdtempSync(join(tmpdir(), 'outrigger-ca-'))
    t.after(() => rmSync(this.dir, { recursive: true, force: true }))
    this.openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '30',
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
      '-subj',
      '/O=test',
    )
    this.cert = this.read('ca.pem')
  }

  /** `san` as openssl writes it: `URI:spiffe://…,DNS:a.example`. */
  issue(san: string, options: { rsa?: boolean; days?: number } = {}): TestCertificate {
    const name = `leaf${this.leaves++}`
    const key = options.rsa ? ['-newkey', 'rsa:2048'] : ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
    this.openssl('req', ...key, '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', '/')
    writeFileSync(join(this.dir, 'ext'), `subjectAltName=critical,${san}\n`)
    this.openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      String(options.days ?? 30),
      '-extfile',
      'ext',
      '-out',
      `${name}.pem`,
    )
    return { cert: this.read(`${name}.pem`), key: this.read(`${name}.key`) }
  }

  /** A list of the authority's certificates that are good no more, PEM. */
  revoke(...certificates: TestCertificate[]): string {
    const config = [
      '[ca]\ndefault_ca=d',
      '[d]\ndatabase=index.txt\nunique_subject=no\ndefault_md=sha256\ndefault_crl_days=30\n',
    ]
    writeFileSync(join(this.dir, 'ca.cnf'), config.join('\n'))
    writeFileSync(join(this.dir, 'index.txt'), '')
    const ca = ['ca', '-config', 'ca.cnf', '-cert', 'ca.pem', '-keyfile', 'ca.key']
    for (const { cert } of certificates) {
      writeFileSync(join(this.dir, 'revoked.pem'), cert)
      this.openssl(...ca, '-revoke', 'revoked.pem')
    }
    this.openssl(...ca, '-gencrl', '-out', 'crl.pem')
    return this.read('crl.pem')
  }

  private openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.dir, stdio: 'pipe' })
  }

  private read(name: string): string {
    return readFileSync(join(this.dir, name), 'utf8')
  }
}
