// The mesh's settings: MeshConfig and MeshNetworks from a file or the ConfigMap `istio`, and a ConfigMap of the users'
// below it, followed for as long as the control plane runs. What cannot be used leaves the last good settings in force.
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { errorText, type Problem } from '../base/errors.ts'
import { watchFile } from '../base/watch-file.ts'
import type { Store, StoreEvent } from '../cluster/index.ts'
import {
  defaultMeshConfig,
  MESH_KEY,
  MESH_NETWORKS_KEY,
  type MeshConfig,
  type MeshNetworks,
  meshConfigMapName,
  type ParsedMeshConfig,
  parseMeshConfigText,
  parseMeshNetworksText,
} from '../config/index.ts'
import { untranslatedMesh } from './untranslated.ts'

/** The control plane's own namespace. */
const NAMESPACE = 'istio-system'

export interface MeshSourceOptions {
  readonly store: Pick<Store, 'get'>
  /** Instead of the ConfigMap. */
  readonly meshConfigFile?: string
  readonly networksConfigFile?: string
  /** Names the ConfigMap: `istio-REVISION`. */
  readonly revision?: string
  /** Name of a ConfigMap whose settings come first: istiod's SHARED_MESH_CONFIG. */
  readonly sharedMeshConfig?: string
  /** Settings below all of these; Istio's defaults when left out. */
  readonly base?: MeshConfig
  readonly baseNetworks?: MeshNetworks
  /** Told what is to be said of a source, each time it is read; nothing: all is well. */
  readonly report: (source: string, problems: readonly Problem[]) => void
  /** Called when other settings than before are in force. */
  readonly changed: (what: 'mesh' | 'networks') => void
}

/** One place that settings come from. */
interface Source {
  readonly name: string
  /** Undefined: it is not there. */
  read(): { readonly text: string } | { readonly problem: string } | undefined
}

/** The settings in force, from construction on. */
export class MeshSources {
  mesh: MeshConfig
  networks: MeshNetworks
  private readonly options: MeshSourceOptions
  private readonly meshSources: readonly Source[]
  private readonly networkSources: readonly Source[]
  private readonly watches: (() => void)[] = []

  constructor(options: MeshSourceOptions) {
    this.options = options
    this.mesh = options.base ?? defaultMeshConfig()
    this.networks = options.baseNetworks ?? {}
    const { meshConfigFile, networksConfigFile, sharedMeshConfig, revision } = options
    const sources = (key: string, file: string | undefined): Source[] => [
      ...(sharedMeshConfig ? [this.configMap(sharedMeshConfig, key)] : []),
      file === undefined ? this.configMap(meshConfigMapName(revision), key) : fileSource(file),
    ]
    this.meshSources = sources(MESH_KEY, meshConfigFile)
    this.networkSources = sources(MESH_NETWORKS_KEY, networksConfigFile)
    this.mesh = this.readMesh() ?? this.mesh
    this.networks = this.readNetworks() ?? this.networks
    this.follow(meshConfigFile, () => this.meshTouched())
    this.follow(networksConfigFile, () => this.networksTouched())
  }

  /** Takes note of changes in the store. */
  stored(events: readonly StoreEvent[]): void {
    const { revision, sharedMeshConfig } = this.options
    const names = [meshConfigMapName(revision), sharedMeshConfig]
    const touched = events.some(
      ({ kind, object: { metadata } }) =>
        kind === 'ConfigMap' && metadata.namespace === NAMESPACE && names.includes(metadata.name),
    )
    if (!touched) return
    this.meshTouched()
    this.networksTouched()
  }

  close(): void {
    for (const stop of this.watches.splice(0)) stop()
  }

  private follow(file: string | undefined, touched: () => void): void {
    if (file === undefined) return
    const failed = (error: Error): void =>
      this.options.report(file, [{ path: '', message: `is watched no more: ${error.message}`, level: 'warning' }])
    this.watches.push(watchFile(file, touched, failed))
  }

  private meshTouched(): void {
    const mesh = this.readMesh()
    if (!mesh || isDeepStrictEqual(mesh, this.mesh)) return
    this.mesh = mesh
    this.options.changed('mesh')
  }

  private networksTouched(): void {
    const networks = this.readNetworks()
    if (!networks || isDeepStrictEqual(networks, this.networks)) return
    this.networks = networks
    this.options.changed('networks')
  }

  /** Every source laid over the one before; undefined: one of them cannot be used. */
  private readMesh(): MeshConfig | undefined {
    let mesh: MeshConfig = this.options.base ?? defaultMeshConfig()
    for (const source of this.meshSources) {
      const read = source.read()
      if (read === undefined) {
        this.options.report(source.name, [])
        continue
      }
      const parsed: ParsedMeshConfig =
        'problem' in read ? unreadable(read.problem) : parseMeshConfigText(read.text, mesh)
      this.options.report(source.name, remarks(parsed))
      if (!parsed.ok) return undefined
      mesh = parsed.value
    }
    return mesh
  }

  /** The first source that has any. */
  private readNetworks(): MeshNetworks | undefined {
    for (const source of this.networkSources) {
      const read = source.read()
      if (read === undefined) {
        this.options.report(source.name, [])
        continue
      }
      const parsed = 'problem' in read ? unreadable(read.problem) : parseMeshNetworksText(read.text)
      this.options.report(source.name, parsed.ok ? [] : parsed.problems)
      return parsed.ok ? parsed.value : undefined
    }
    return this.options.baseNetworks ?? {}
  }

  private configMap(name: string, key: string): Source {
    const { store } = this.options
    return {
      name: `ConfigMap ${NAMESPACE}/${name} ${key}`,
      read: () => {
        const { data } = (store.get('ConfigMap', NAMESPACE, name) ?? {}) as { data?: Readonly<Record<string, unknown>> }
        const text = data?.[key]
        return typeof text === 'string' ? { text } : undefined
      },
    }
  }
}

function fileSource(path: string): Source {
  return {
    name: path,
    read: () => {
      try {
        return { text: readFileSync(path, 'utf8') }
      } catch (error) {
        return { problem: errorText(error) }
      }
    },
  }
}

function unreadable(message: string): { ok: false; problems: readonly Problem[]; warnings: readonly Problem[] } {
  return { ok: false, problems: [{ path: '', message, level: 'error' }], warnings: [] }
}

/** What is to be said of mesh settings in an object; nothing when it is not the ConfigMap that holds them. */
export function meshConfigMapProblems(object: unknown): Problem[] {
  const { kind, metadata, data } = (object ?? {}) as {
    kind?: unknown
    metadata?: { name?: unknown; namespace?: unknown }
    data?: Readonly<Record<string, unknown>> | null
  }
  const named = typeof metadata?.name === 'string' && /^istio(-.+)?$/.test(metadata.name)
  if (kind !== 'ConfigMap' || !named || metadata.namespace !== NAMESPACE) return []
  const mesh = data?.[MESH_KEY]
  const networks = data?.[MESH_NETWORKS_KEY]
  const problems: Problem[] = []
  if (typeof mesh === 'string') {
    const parsed = parseMeshConfigText(mesh)
    problems.push(...within(MESH_KEY, remarks(parsed)))
  }
  if (typeof networks === 'string') {
    const parsed = parseMeshNetworksText(networks)
    if (!parsed.ok) problems.push(...within(MESH_NETWORKS_KEY, parsed.problems))
  }
  return problems
}

/** Problems of a text, told of the field of the object that holds it. */
function within(key: string, problems: readonly Problem[]): Problem[] {
  return problems.map(({ path, message, ...rest }) => ({
    ...rest,
    path: `data.${key}`,
    message: path === '' ? message : `${path} ${message}`,
  }))
}

function remarks(parsed: ParsedMeshConfig): readonly Problem[] {
  return parsed.ok ? [...parsed.warnings, ...untranslatedMesh(parsed.value)] : parsed.problems
}
