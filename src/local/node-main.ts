import { createLogger } from '../base/logger.ts'
import { MemoryStore, type Store } from '../cluster/index.ts'
import { NODE_IP } from './addresses.ts'
import { Admission } from './admission.ts'
import { ApiServer } from './api-server.ts'
import {
  type ControlPlane,
  distributeRootCertificate,
  keepMeshSettings,
  loadTokens,
  startControlPlane,
} from './control-plane.ts'
import { DeploymentController } from './deployments.ts'
import { startDnsServer } from './dns-server.ts'
import { EndpointSliceController } from './endpoint-slices.ts'
import { EventLog } from './event-log.ts'
import { startForwardServer } from './forward.ts'
import { GatewayWorkloads } from './gateway-workloads.ts'
import { ImageCatalogue } from './images.ts'
import type { InjectionOptions, ProxyChoice } from './inject.ts'
import { Kubelet, type SignToken } from './kubelet.ts'
import { rotateLogs } from './log-rotation.ts'
import { meshConfigIn } from './mesh-in-store.ts'
import { setUpNode } from './node-setup.ts'
import { admitPod, injectedPod } from './pod-admission.ts'
import type { Pod } from './pod-types.ts'
import { ServiceProxy } from './service-rules.ts'
import type { StateDir } from './state-dir.ts'
import { systemObjects } from './system-objects.ts'

/** What the supervisor tells the node process it starts. */
export interface NodeOptions {
  readonly state: StateDir
  readonly proxy: ProxyChoice
  /** The stock Envoy binary, when `proxy` may call for it. */
  readonly envoyBinary?: string
}

/** How long pods get to end by themselves when the mesh goes down. */
const SHUTDOWN_GRACE_MS = 2_000

/**
 * The node: first process of the private namespaces, holding the cluster's store, its controllers, the control plane,
 * DNS and kubelet. When it ends, its namespaces end, and with them every pod, mount, link and rule.
 */
export async function runNode(options: NodeOptions): Promise<void> {
  const log = createLogger('node')
  const { state } = options
  await setUpNode({ cacheDir: state.cache, keepVisible: [state.root], envoyBinary: options.envoyBinary })
  const store = new MemoryStore()
  const images = new ImageCatalogue()
  const events = new EventLog()
  let controlPlane: ControlPlane | undefined
  const injection = (view: Pick<Store, 'get'> = store): InjectionOptions => ({
    proxy: options.proxy,
    clusterId: 'Kubernetes',
    meshConfig: meshConfigIn(view, controlPlane?.meshConfig()),
  })
  const admit = (pod: Pod, view: Pick<Store, 'get' | 'list'> = store) => admitPod(view, pod, injection(view))
  const admission = new Admission(store, admit)
  const tokens = loadTokens(state.ca)
  new EndpointSliceController(store)
  new DeploymentController(store, { admitPod: admit, event: (object, message) => events.add(object, message) })
  new ServiceProxy(store, log)
  await startDnsServer(store, NODE_IP, 53)
  admission.apply(systemObjects().map((object) => ({ object, origin: { file: 'outrigger up', line: 1 } })))
  const gateways = new GatewayWorkloads(store, admission, (object, message) => events.add(object, message))
  controlPlane = await startControlPlane({
    store,
    tokens,
    caDir: state.ca,
    log,
    inject: (pod) => injectedPod(store, pod as Pod, injection()),
    deployGateways: (workloads) => gateways.keep(workloads),
  })
  distributeRootCertificate(store, controlPlane.rootPem)
  keepMeshSettings(store)
  const signToken: SignToken = (namespace, serviceAccount, audience, expirationSeconds) =>
    tokens.sign({ namespace, serviceAccount, audiences: [audience], expirationSeconds })
  const kubelet = new Kubelet({
    store,
    images,
    events,
    logDir: state.logs,
    log,
    signToken,
  })
  rotateLogs(state.logs)
  await startForwardServer(state.forwardSocket, { store, kubelet })
  const shutdown = (): undefined => {
    void kubelet.stopAll(SHUTDOWN_GRACE_MS).finally(() => process.exit(0))
  }
  process.on('SIGTERM', shutdown)
  // Control-C reaches the whole foreground process group; the supervisor decides what it means.
  process.on('SIGINT', () => {})
  await new ApiServer({
    ...{ store, admission, images, kubelet, events, shutdown },
    info: { proxy: options.proxy },
    settled: controlPlane.settled,
    signToken,
  }).listen(state.apiSocket)
}
