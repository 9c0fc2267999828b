import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { NodeSchema } from '../api/gen/envoy/config/core/v3/base_pb.js'
import { createLogger } from '../base/logger.ts'
import { MemoryStore } from '../cluster/index.ts'
import { startPilot } from '../pilot/index.ts'
import { ServiceAccountTokens } from '../security/index.ts'
import { ADS_CHANNEL_OPTIONS, askOnce } from '../xds/index.ts'
import { secureGrpcSettings } from './secure-grpc.ts'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'secure-grpc-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

const publicPem = (tokens: ServiceAccountTokens): string =>
  createPublicKey(tokens.keyPem()).export({ type: 'spki', format: 'pem' }) as string

test('a control plane with an authority in a folder serves whoever shows a token that its keys verify', async (t) => {
  const dir = folder(t)
  const [old, current, other] = [0, 1, 2].map(() => new ServiceAccountTokens()) as [
    ServiceAccountTokens,
    ServiceAccountTokens,
    ServiceAccountTokens,
  ]
  const tokenKeyFile = join(dir, 'sa.pub')
  writeFileSync(tokenKeyFile, publicPem(old) + publicPem(current))
  const caDir = join(dir, 'ca')
  const secureGrpc = await secureGrpcSettings({
    secureGrpcAddr: '127.0.0.1:0',
    caDir,
    tokenKeyFile,
    serverName: ['pilot.example.com'],
  })
  const pilot = await startPilot({
    store: new MemoryStore(),
    log: createLogger('test', 'off'),
    grpcAddr: '127.0.0.1:0',
    secureGrpc,
  })
  t.after(() => pilot.stop())
  const root = readFileSync(join(caDir, 'root-cert.pem'))
  const ask = async (tokens: ServiceAccountTokens, namespace = 'istio-system'): Promise<string> => {
    const client = new Client(pilot.addresses.secureGrpc!, credentials.createSsl(root, null, null), {
      ...ADS_CHANNEL_OPTIONS,
      'grpc.ssl_target_name_override': 'pilot.example.com',
    })
    const token = await tokens.sign({
      namespace,
      serviceAccount: 'default',
      audiences: ['istio-ca'],
      expirationSeconds: 600,
    })
    const metadata = new Metadata()
    metadata.set('authorization', `Bearer ${token}`)
    const node = create(NodeSchema, {
      id: 'sidecar~10.0.0.9~a.istio-system~istio-system.svc.cluster.local',
      metadata: { GENERATOR: 'event', NAMESPACE: 'istio-system', SERVICE_ACCOUNT: 'default' },
    })
    try {
      await askOnce(client, { node, typeUrl: 'istio.io/debug', names: ['syncz'], timeoutMs: 10_000 }, metadata)
      return 'answered'
    } catch (error) {
      return String(error)
    } finally {
      client.close()
    }
  }
  assert.equal(await ask(old), 'answered')
  assert.equal(await ask(current), 'answered')
  assert.match(await ask(other), /bearer token refused: signature verification failed/)
  assert.match(await ask(current, 'default'), /does not belong to namespace istio-system/)

  // The authority is kept: peers that trust it do so after a restart, too.
  const again = await secureGrpcSettings({ secureGrpcAddr: '127.0.0.1:0', caDir })
  assert.equal(again?.ca.rootPem, root.toString())
  await assert.rejects(again!.tokens.verify('x', 'istio-ca'), /no keys to verify tokens by/)
})

test('flags that do not fit together, and files without use, are refused', async (t) => {
  const dir = folder(t)
  const caDir = join(dir, 'ca')
  const secureGrpcAddr = '127.0.0.1:0'
  const tokenKeyFile = join(dir, 'none.pem')
  assert.equal(await secureGrpcSettings({}), undefined)
  await assert.rejects(secureGrpcSettings({ secureGrpcAddr }), /--secure-grpc-addr needs --ca-dir/)
  await assert.rejects(secureGrpcSettings({ serverName: ['a'] }), /are for --secure-grpc-addr/)
  await assert.rejects(secureGrpcSettings({ secureGrpcAddr, caDir, tokenKeyFile }), /none.pem: ENOENT/)
  writeFileSync(tokenKeyFile, 'nothing')
  await assert.rejects(secureGrpcSettings({ secureGrpcAddr, caDir, tokenKeyFile }), /there is no PEM block/)
})
