// A control plane for the agent's tests, run as a process of its own inside a test's network namespace: TLS on 15012 with
// certificates and an ADS server that has nothing to configure. Prints `ready` when it serves.
// usage: node control-plane.ts WORKDIR   (writes the root certificate and a token where the agent looks for them)
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Server } from '@grpc/grpc-js'
import { createLogger } from '../../base/logger.ts'
import {
  CertificateAuthority,
  createAuthenticator,
  createServerCredentials,
  mountCertificateService,
  ServiceAccountTokens,
} from '../../security/index.ts'
import { XdsServer } from '../../xds/server.ts'

const workdir = process.argv[2]!
const log = createLogger('control-plane', 'warn')
const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType: 'ECDSA' })
const tokens = new ServiceAccountTokens()
const authenticate = createAuthenticator({ trustDomain: 'cluster.local', tokens })
const server = new Server()
const xds = new XdsServer({
  log,
  authenticate,
  handler: {
    onConnect: (conn) => process.stdout.write(`connected ${conn.node.id} as ${conn.peer.identities.join(',')}\n`),
    onSubscribe: (conn, typeUrl) => void conn.push(typeUrl, { resources: [], removed: [], version: '1', full: true }),
    onAck: () => {},
    onNack: () => {},
    onDisconnect: () => {},
  },
})
xds.mount(server)
mountCertificateService(server, { ca, authenticate, log })
const { credentials } = createServerCredentials(await ca.issueServerCertificate(['localhost']), ca.rootPem)
await new Promise<void>((resolve, reject) =>
  server.bindAsync('127.0.0.1:15012', credentials, (error) => (error ? reject(error) : resolve())),
)
const token = await tokens.sign({
  namespace: 'default',
  serviceAccount: 'web',
  audiences: ['istio-ca'],
  expirationSeconds: 3600,
})
for (const [path, content] of [
  ['var/run/secrets/istio/root-cert.pem', ca.rootPem],
  ['var/run/secrets/tokens/istio-token', token],
] as const) {
  mkdirSync(join(workdir, path, '..'), { recursive: true })
  writeFileSync(join(workdir, path), content)
}
process.stdout.write('ready\n')
