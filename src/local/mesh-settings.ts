// Settings of the whole mesh: ConfigMap `istio` of the control plane's namespace, as in an Istio installation.
import { LineCounter, parseDocument } from 'yaml'
import { fail, ok, type Problem, type Result } from '../base/errors.ts'
import type { KubeObject } from '../cluster/index.ts'
import { type MeshConfig, type MeshNetworks, parseMeshConfig, parseMeshNetworks } from '../config/index.ts'
import { untranslatedMesh } from '../pilot/index.ts'

export const MESH_CONFIG_MAP = { namespace: 'istio-system', name: 'istio' } as const

export interface MeshSettings {
  readonly mesh: MeshConfig
  readonly networks: MeshNetworks
  /** `defaultConfig` as written: what agents are given beside what their pods say. */
  readonly defaultConfig: Readonly<Record<string, unknown>>
}

export function isMeshConfigMap({ kind, metadata }: Pick<KubeObject, 'kind' | 'metadata'>): boolean {
  return (
    kind === 'ConfigMap' && metadata.name === MESH_CONFIG_MAP.name && metadata.namespace === MESH_CONFIG_MAP.namespace
  )
}

/** Reads `data.mesh` (MeshConfig, laid over Istio's defaults) and `data.meshNetworks`. Paths start at the ConfigMap. */
export function parseMeshSettings(object: KubeObject): Result<MeshSettings> {
  const { mesh: meshText = '', meshNetworks: networksText = '' } = (object.data ?? {}) as Record<string, string>
  const document = readText('data.mesh', meshText)
  const networks = readText('data.meshNetworks', networksText)
  if (!document.ok) return document
  if (!networks.ok) return networks
  const mesh = below('data.mesh', parseMeshConfig(document.value))
  const parsedNetworks = below('data.meshNetworks', parseMeshNetworks(networks.value))
  if (!mesh.ok) return mesh
  if (!parsedNetworks.ok) return parsedNetworks
  const { trustDomain } = mesh.value
  if (trustDomain !== 'cluster.local') {
    const message = `trustDomain: the mesh's certificate authority issues identities of cluster.local, not of ${trustDomain}`
    return fail('data.mesh', message, 'leave trustDomain out')
  }
  const { defaultConfig = {} } = (document.value ?? {}) as { defaultConfig?: Record<string, unknown> }
  return ok({ mesh: mesh.value, networks: parsedNetworks.value, defaultConfig })
}

function readText(path: string, text: unknown): Result<unknown> {
  if (typeof text !== 'string') return fail(path, 'must be text that holds YAML')
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const fault = document.errors[0]
  if (fault) return fail(path, `line ${lines.linePos(fault.pos[0]).line}: invalid YAML: ${fault.message}`)
  return ok(document.toJS())
}

/** What is wrong with the settings, and what of them has no effect. */
export function meshSettingsProblems(object: KubeObject): readonly Problem[] {
  const settings = parseMeshSettings(object)
  return settings.ok ? placed('data.mesh', untranslatedMesh(settings.value.mesh)) : settings.problems
}

function below<T>(path: string, result: Result<T>): Result<T> {
  return result.ok ? result : { ok: false, problems: placed(path, result.problems) }
}

/** Problems inside of the text belong to the line where it starts; what they are about goes into the message. */
function placed(path: string, problems: readonly Problem[]): Problem[] {
  return problems.map((problem) => ({
    ...problem,
    path,
    message: problem.path ? `${problem.path}: ${problem.message}` : problem.message,
  }))
}
