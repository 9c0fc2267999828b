import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '../base/logger.ts'
import type { KubeObject, MemoryStore } from '../cluster/index.ts'
import { defaultMeshConfig } from '../config/index.ts'
import { type GatewayWorkload, ISTIOD_NAMES, type Pilot, startPilot } from '../pilot/index.ts'
import { CertificateAuthority, ServiceAccountTokens } from '../security/index.ts'
import { NODE_IP } from './addresses.ts'
import { MESH_SETTINGS } from './system-objects.ts'

/** The key that signs service-account tokens; kept in `dir`, so that tokens outlive a restart of the mesh. */
export function loadTokens(dir: string): ServiceAccountTokens {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const file = join(dir, 'service-account.key')
  let keyPem: string | undefined
  try {
    keyPem = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const tokens = new ServiceAccountTokens({ keyPem })
  if (keyPem === undefined) writeFileSync(file, tokens.keyPem(), { mode: 0o600 })
  return tokens
}

/** Keeps ConfigMap `istio-ca-root-cert` in every namespace, as istiod does; agents trust the control plane by it. */
export function distributeRootCertificate(store: MemoryStore, rootPem: string): void {
  const put = (namespaces: readonly string[]) =>
    store.put(
      namespaces.map((namespace) => ({
        object: {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: 'istio-ca-root-cert', namespace, labels: { 'istio.io/config': 'true' } },
          data: { 'root-cert.pem': rootPem },
        },
      })),
    )
  put(store.list('Namespace').map((o) => o.metadata.name))
  store.watch((events) => {
    const added = events.filter((e) => e.kind === 'Namespace' && e.type === 'added').map((e) => e.object.metadata.name)
    if (added.length > 0) put(added)
  })
}

/** Puts the mesh settings of the demo profile back when those that somebody applied are deleted. */
export function keepMeshSettings(store: MemoryStore): void {
  const { kind, metadata } = MESH_SETTINGS
  store.watch((events) => {
    const gone = events.some(
      (e) =>
        e.type === 'deleted' &&
        e.kind === kind &&
        e.object.metadata.name === metadata.name &&
        e.object.metadata.namespace === metadata.namespace,
    )
    if (gone && !store.get(kind, metadata.namespace, metadata.name)) store.put([{ object: MESH_SETTINGS }])
  })
}

export interface ControlPlaneOptions {
  readonly store: MemoryStore
  readonly tokens: ServiceAccountTokens
  /** Folder that keeps the root certificate and its key. */
  readonly caDir: string
  readonly log: Logger
  /** The pod as it should run, as a webhook answers; undefined: as it is. */
  readonly inject: (pod: KubeObject) => KubeObject | undefined
  readonly deployGateways: (workloads: readonly GatewayWorkload[]) => void
}

/** A control plane as it runs. */
export interface ControlPlane extends Pick<Pilot, 'meshConfig' | 'settled'> {
  readonly rootPem: string
}

/** Starts the certificate authority and pilot on the node's address. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { store, tokens, log } = options
  const ca = await CertificateAuthority.loadOrCreate(options.caDir, { trustDomain: defaultMeshConfig().trustDomain })
  const { meshConfig, settled } = await startPilot({
    store,
    writeStatuses: (updates) => store.putStatuses(updates),
    deployGateways: options.deployGateways,
    instance: 'istiod',
    log,
    grpcAddr: `${NODE_IP}:15010`,
    secureGrpc: { address: `${NODE_IP}:15012`, ca, tokens, serverNames: ISTIOD_NAMES },
    webhooks: { address: `${NODE_IP}:15017`, inject: options.inject },
    httpAddr: `${NODE_IP}:8080`,
    monitoringAddr: `${NODE_IP}:15014`,
    ctrlzAddr: `${NODE_IP}:9876`,
    // As istiod itself is told.
    unsafeAdmin: process.env.UNSAFE_ENABLE_ADMIN_ENDPOINTS === 'true',
  })
  return { rootPem: ca.rootPem, meshConfig, settled }
}
