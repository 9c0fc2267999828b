import { chmodSync, chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import type { Mount } from './container-process.ts'
import { ContainerConfigError, fieldValue, type ObjectReader, objectData } from './pod-env.ts'
import type { Container, Pod, Volume, VolumeProjection } from './pod-types.ts'

/** What a volume may need beyond the pod itself. */
export interface VolumeSources {
  readonly read: ObjectReader
  /** Signs a token of the pod's service account. */
  signToken(audience: string, expirationSeconds: number): Promise<string>
}

/**
 * Writes the pod's volumes below `dir`, one folder each, and returns their paths by name. Files belong to `uid`, the
 * one user of the pod who needs the private ones. Called again it renews tokens and ConfigMap content in place.
 */
export async function writeVolumes(
  pod: Pod,
  dir: string,
  uid: number,
  sources: VolumeSources,
): Promise<Map<string, string>> {
  const paths = new Map<string, string>()
  for (const volume of pod.spec.volumes ?? []) {
    if (volume.hostPath) {
      if (!existsSync(volume.hostPath.path)) {
        throw new ContainerConfigError(`hostPath ${volume.hostPath.path} does not exist`)
      }
      paths.set(volume.name, volume.hostPath.path)
      continue
    }
    const path = join(dir, volume.name)
    mkdirSync(path, { recursive: true })
    chmodSync(path, 0o777)
    for (const projection of projectionsOf(volume)) {
      for (const [file, content] of await projectedFiles(pod, projection, sources)) {
        const target = join(path, normalize(`/${file}`))
        mkdirSync(dirname(target), { recursive: true })
        writeFileSync(target, content)
        // Tokens and keys are for their user alone; the rest is plain configuration.
        const secret = projection.serviceAccountToken || projection.secret
        chmodSync(target, secret ? 0o400 : 0o644)
        chownSync(target, uid, uid)
      }
    }
    paths.set(volume.name, path)
  }
  return paths
}

function projectionsOf(volume: Volume): VolumeProjection[] {
  if (volume.emptyDir) return []
  if (volume.projected) return volume.projected.sources
  if (volume.configMap) return [{ configMap: volume.configMap }]
  if (volume.secret) return [{ secret: { ...volume.secret, name: volume.secret.secretName } }]
  if (volume.downwardAPI) return [{ downwardAPI: volume.downwardAPI }]
  const type = Object.keys(volume).find((key) => key !== 'name')
  throw new ContainerConfigError(
    `volume ${volume.name}: type ${type ?? '(none)'} is not offered here; use emptyDir, hostPath, configMap, secret, downwardAPI or projected`,
  )
}

async function projectedFiles(
  pod: Pod,
  projection: VolumeProjection,
  sources: VolumeSources,
): Promise<[string, string][]> {
  const { serviceAccountToken, configMap, secret, downwardAPI } = projection
  if (serviceAccountToken) {
    const { audience = 'https://kubernetes.default.svc', expirationSeconds = 3600, path } = serviceAccountToken
    return [[path, await sources.signToken(audience, expirationSeconds)]]
  }
  if (downwardAPI) {
    return (downwardAPI.items ?? []).map((item) => [item.path, fieldValue(pod, item.fieldRef?.fieldPath ?? '')])
  }
  const [kind, ref] = configMap ? (['ConfigMap', configMap] as const) : (['Secret', secret!] as const)
  const data = objectData(sources.read, kind, ref)
  if (!ref.items) return Object.entries(data)
  return ref.items.flatMap(({ key, path }): [string, string][] => {
    const value = data[key]
    if (value !== undefined) return [[path, value]]
    if (ref.optional) return []
    throw new ContainerConfigError(`references non-existent ${kind} key: ${key}`)
  })
}

export function containerMounts(container: Container, volumes: ReadonlyMap<string, string>): Mount[] {
  return (container.volumeMounts ?? []).map((mount) => {
    const path = volumes.get(mount.name)
    if (!path) throw new ContainerConfigError(`volumeMount ${mount.mountPath}: the pod has no volume ${mount.name}`)
    if (/[\t\n]/.test(mount.mountPath)) throw new ContainerConfigError('mountPath with a tab or line break')
    const source = mount.subPath ? join(path, normalize(`/${mount.subPath}`)) : path
    return { source, target: mount.mountPath, readOnly: mount.readOnly ?? false }
  })
}
