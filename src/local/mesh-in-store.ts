// The MeshConfig that pods are injected with: of the ConfigMap as it stands, which the control plane may not have read yet
// when both come in one batch.
import type { Store } from '../cluster/index.ts'
import { MESH_KEY, type MeshConfig, meshConfigMapName, parseMeshConfigText } from '../config/index.ts'

/** `inForce`: what holds while the ConfigMap is not there, or cannot be used. */
export function meshConfigIn(store: Pick<Store, 'get'>, inForce: MeshConfig | undefined): MeshConfig | undefined {
  const map = store.get('ConfigMap', 'istio-system', meshConfigMapName(undefined)) as
    | { readonly data?: Readonly<Record<string, string>> }
    | undefined
  const text = map?.data?.[MESH_KEY]
  if (text === undefined) return inForce
  const parsed = parseMeshConfigText(text)
  return parsed.ok ? parsed.value : inForce
}
