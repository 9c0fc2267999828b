// Mesh settings as text: what a file, or the ConfigMap of the control plane, holds.
import { parse } from 'yaml'
import { errorText, type Result } from '../base/errors.ts'
import {
  type MeshConfig,
  type ParsedMeshConfig,
  type ProxyConfig,
  parseMeshConfig,
  parseProxyConfig,
} from './mesh-config.ts'
import { parseMeshNetworks } from './mesh-networks.ts'
import type { MeshNetworks } from './resources/mesh-networks.ts'

/** Key of a MeshConfig in the ConfigMap. */
export const MESH_KEY = 'mesh'
/** Key of MeshNetworks in the ConfigMap. */
export const MESH_NETWORKS_KEY = 'meshNetworks'

/** The ConfigMap's name: `istio`, or `istio-REVISION`. */
export function meshConfigMapName(revision = ''): string {
  return revision === '' || revision === 'default' ? 'istio' : `istio-${revision}`
}

/** {@link parseMeshConfig} of YAML or JSON text. */
export function parseMeshConfigText(text: string, base?: MeshConfig): ParsedMeshConfig {
  const read = readYaml(text)
  return read.ok ? parseMeshConfig(read.value, base) : { ...read, warnings: [] }
}

/** {@link parseMeshNetworks} of YAML or JSON text. */
export function parseMeshNetworksText(text: string): Result<MeshNetworks> {
  const read = readYaml(text)
  return read.ok ? parseMeshNetworks(read.value) : read
}

/** {@link parseProxyConfig} of YAML or JSON text, as the annotation `proxy.istio.io/config` has it. */
export function parseProxyConfigText(text: string): Result<ProxyConfig> {
  const read = readYaml(text)
  return read.ok ? parseProxyConfig(read.value ?? {}) : read
}

function readYaml(text: string): Result<unknown> {
  try {
    return { ok: true, value: parse(text) }
  } catch (error) {
    const message = `is not YAML: ${errorText(error).split('\n', 1)[0]}`
    return { ok: false, problems: [{ path: '', message, level: 'error' }] }
  }
}
