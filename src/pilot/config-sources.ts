// MeshConfig.configSources: where Istio's resources come from beside the API server.
import { fileURLToPath } from 'node:url'
import { errorText } from '../base/errors.ts'
import { FolderSource, type MemoryStore } from '../cluster/index.ts'
import { isIstioGroup, type MeshConfig } from '../config/index.ts'

interface ConfigSourceOptions {
  /** What the sources' resources are put into. */
  readonly store: MemoryStore
  /** Told one line for each source and each file that cannot be used. */
  readonly onProblem: (message: string) => void
}

/**
 * Follows the folders that `fs://PATH` names: the Istio resources in them are as if they stood in the store; what stands
 * there already stays. As istiod does, once: other sources need a new start. Returns the way to stop.
 */
export function followConfigSources({ configSources = [] }: MeshConfig, options: ConfigSourceOptions): () => void {
  const { store, onProblem } = options
  const folders: FolderSource[] = []
  for (const { address = '' } of configSources) {
    try {
      const { protocol, pathname } = new URL(address)
      // The store itself stands for the API server.
      if (protocol === 'k8s:') continue
      if (protocol !== 'fs:') throw new Error('only fs:// and k8s:// are followed')
      const dir = fileURLToPath(`file://${pathname}`)
      const takes = (kind: string): boolean => isIstioGroup(kind.slice(kind.indexOf('.') + 1))
      folders.push(new FolderSource(dir, { store, takes, onProblem: (message) => onProblem(`${address}: ${message}`) }))
    } catch (error) {
      onProblem(`configSources ${JSON.stringify(address)}: ${errorText(error)}`)
    }
  }
  return () => {
    for (const folder of folders) folder.stop()
  }
}
