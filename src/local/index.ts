// Public entry of the local room: the embedded, one-machine Kubernetes.
import type { AddressInfo } from 'node:net'
import type { KubeObject, Store } from '../cluster/index.ts'
import type { MeshConfig } from '../config/index.ts'
import { type ForwardTarget, relayPort } from './forward.ts'
import type { Manifests } from './manifest.ts'
import type { NodeOptions } from './node-main.ts'
import type { Pod } from './pod-types.ts'
import type { StateDir } from './state-dir.ts'

export type * from './api.ts'
export { LocalClient } from './client.ts'
export { readFileOrFolder, readFolder } from './folder.ts'
export type { ApplyReport, FolderFile } from './folder-source.ts'
export type { ForwardTarget } from './forward.ts'
export { IMAGES_FILE, parseImages } from './images.ts'
export type { ProxyChoice } from './inject.ts'
export type { Manifests } from './manifest.ts'
export type { NodeOptions } from './node-main.ts'
export { type Lacking, lackingPrerequisites } from './prerequisites.ts'
export { type StateDir, stateDir } from './state-dir.ts'
export {
  DEFAULT_PORTS,
  type HostPorts,
  removeMeshFiles,
  runningMesh,
  Supervisor,
  type SupervisorRecord,
} from './supervisor.ts'
export { endpointsView, formatTable, tableRows } from './tables.ts'

/** A port of this machine that leads into the running mesh; returns its number. Port 0 takes a free one. */
export async function forwardPort(
  host: string,
  port: number,
  state: StateDir,
  target: ForwardTarget,
): Promise<{ readonly port: number; close(): void }> {
  const server = await relayPort(host, port, state.forwardSocket, target)
  return { port: (server.address() as AddressInfo).port, close: () => server.close() }
}

/** The node process; loaded on its own, because no command needs what it needs. */
export async function runNode(options: NodeOptions): Promise<void> {
  const node = await import('./node-main.ts')
  await node.runNode(options)
}

/** Reads and checks manifests offline; loaded on its own, because it brings every schema along. */
export async function readManifests(file: string, text: string): Promise<Manifests> {
  const manifest = await import('./manifest.ts')
  return manifest.readManifests(file, text)
}

/** Manifests with the pods of every workload injected; loaded on its own. */
export async function injectDocuments(file: string, text: string, meshConfig: MeshConfig | undefined): Promise<string> {
  const inject = await import('./kube-inject.ts')
  return inject.injectDocuments(file, text, meshConfig)
}

/** The injecting webhook's part: sidecars and gateways by the namespaces of `store`; loaded on its own. */
export async function podInjection(
  store: Pick<Store, 'get' | 'list'>,
  clusterId: string,
  meshConfig: () => MeshConfig | undefined,
): Promise<(pod: KubeObject) => KubeObject | undefined> {
  const { injectedPod } = await import('./pod-admission.ts')
  return (pod) => injectedPod(store, pod as Pod, { proxy: 'mixed-by-annotation', clusterId, meshConfig: meshConfig() })
}
