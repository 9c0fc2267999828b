// What a control plane is started with, and what it is once it runs.
import type { Logger } from '../base/logger.ts'
import type { GroupKind, Store } from '../cluster/index.ts'
import type { MeshConfig, MeshNetworks } from '../config/index.ts'
import type { CertificateAuthority, TokenVerifier } from '../security/index.ts'
import type { GatewayWorkload } from './gateway-api/workload.ts'
import type { MeshSourceOptions } from './mesh-sources.ts'
import type { Refusal } from './push/discovery-server.ts'
import type { InjectPod } from './webhook/review.ts'
import type { WebhookCertificate } from './webhook/server.ts'

/** xDS and certificates over TLS (15012). */
export interface SecureGrpcOptions {
  readonly address: string
  readonly ca: CertificateAuthority
  readonly tokens: TokenVerifier
  /** DNS names and addresses of the server certificate, e.g. `istiod.istio-system.svc`. */
  readonly serverNames: readonly string[]
}

/** Names by which agents dial the control plane; its server certificate has them. */
export const ISTIOD_NAMES: readonly string[] = [
  'istiod.istio-system.svc',
  'istiod.istio-system.svc.cluster.local',
  'istiod.istio-system',
  'istiod',
]

/** The webhooks that the API server calls (15017). */
export interface WebhookSettings {
  readonly address: string
  /** Left out: one of the certificate authority of `secureGrpc`, renewed with its own. */
  readonly certificate?: WebhookCertificate
  /** What becomes of a pod; left out: pods are not injected. */
  readonly inject?: InjectPod
}

/** A new `status` of an object of the store. */
export interface StatusUpdate {
  readonly kind: GroupKind
  readonly namespace?: string
  readonly name: string
  readonly status: unknown
}

export interface PilotOptions {
  readonly store: Store
  /** Writes statuses back to the store; left out: none are written. */
  readonly writeStatuses?: (updates: readonly StatusUpdate[]) => void
  /**
   * Keeps there what Gateways without Services of their own are to be given; called with all of it whenever it may have
   * changed. Left out: Gateways have the workloads that somebody deploys.
   */
  readonly deployGateways?: (workloads: readonly GatewayWorkload[]) => void
  /** Settings below those of `meshSources`; Istio's defaults when left out. */
  readonly meshConfig?: MeshConfig
  /** Left out: one network. */
  readonly meshNetworks?: MeshNetworks
  /** Where the mesh's settings come from; left out: the ConfigMap `istio` of the store. */
  readonly meshSources?: Pick<
    MeshSourceOptions,
    'meshConfigFile' | 'networksConfigFile' | 'revision' | 'sharedMeshConfig'
  >
  readonly log: Logger
  /** Plaintext xDS, `host:port`; port 0 takes a free one. */
  readonly grpcAddr: string
  readonly secureGrpc?: SecureGrpcOptions
  readonly webhooks?: WebhookSettings
  /** Debug pages and `/ready`; left out: none. */
  readonly httpAddr?: string
  /** Metrics, and the same pages; left out: none. */
  readonly monitoringAddr?: string
  /** Log scopes and their levels, `/scopej`; left out: none. */
  readonly ctrlzAddr?: string
  /** Default `cluster.local`. */
  readonly domain?: string
  /** Default `Kubernetes`. */
  readonly clusterId?: string
  /** The debug page force_disconnect exists, as with istiod's UNSAFE_ENABLE_ADMIN_ENDPOINTS. */
  readonly unsafeAdmin?: boolean
  /** Name of this instance in answers to istioctl, the pod's on Kubernetes; default: the host's name. */
  readonly instance?: string
  /** Version shown by /version and pilot_info; that of this package when left out. */
  readonly version?: string
}

/** A running control plane. */
export interface Pilot {
  /** Addresses as bound. */
  readonly addresses: {
    readonly grpc: string
    readonly secureGrpc?: string
    readonly http?: string
    readonly monitoring?: string
    readonly webhooks?: string
    readonly ctrlz?: string
  }
  /** In force at the moment. */
  meshConfig(): MeshConfig
  /** Waits until every proxy has answered what is known now, at most `limitMs`; says what proxies refuse. */
  settled(limitMs: number): Promise<readonly Refusal[]>
  /** Ends all streams and ports. */
  stop(): Promise<void>
}
