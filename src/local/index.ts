// Public entry of the local room: the embedded, one-machine Kubernetes.
export type * from './api.ts'
export { LocalClient } from './client.ts'
export { readFileOrFolder, readFolder } from './folder.ts'
export type { ApplyReport, FolderFile } from './folder-source.ts'
export type { ForwardTarget } from './forward.ts'
export type { ProxyChoice } from './inject.ts'
export { type NodeOptions, runNode } from './node-main.ts'
export { type ResourceType, resourceArguments, resourceType } from './resource-names.ts'
export { type StateDir, stateDir } from './state-dir.ts'
export {
  GATEWAY_ADDRESS,
  removeMeshFiles,
  runningMesh,
  Supervisor,
  type SupervisorRecord,
} from './supervisor.ts'
export { endpointsView, formatTable, tableRows } from './tables.ts'
