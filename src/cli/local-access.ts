// The mesh that `outrigger up` runs on this machine.

import { UserError } from '../base/errors.ts'
import { LocalClient } from '../local/index.ts'
import type { HttpAnswer, MeshAccess, MeshObject, PodRef } from './access.ts'

const PILOT_DEBUG_PORT = 8080
const CONTROLZ_PORT = 9876

export class LocalAccess implements MeshAccess {
  private readonly client = new LocalClient()

  async findPod(text: string, namespace: string): Promise<PodRef> {
    const [kind, rest] = text.includes('/') ? (text.split('/', 2) as [string, string]) : ['pod', text]
    const ref = splitName(rest, namespace)
    const pods = await this.objects('Pod', ref.namespace)
    if (/^(po|pod|pods)$/.test(kind)) {
      if (pods.some((pod) => pod.metadata.name === ref.name)) return ref
      // A bare name may also be that of a Deployment, as a pod's own name changes with every restart.
      const owned = pods.find((pod) => ownedBy(pod, ref.name))
      if (owned && !text.includes('/')) return { namespace: ref.namespace, name: owned.metadata.name }
      throw new UserError(`pods "${ref.name}" not found in namespace ${ref.namespace}`)
    }
    if (/^(deploy|deployment|deployments)(\.apps)?$/.test(kind)) {
      const owned = pods.find((pod) => ownedBy(pod, ref.name))
      if (owned) return { namespace: ref.namespace, name: owned.metadata.name }
      throw new UserError(`deployment "${ref.name}" has no pod in namespace ${ref.namespace}`)
    }
    if (/^(rs|replicaset|replicasets)(\.apps)?$/.test(kind)) {
      const owned = pods.find(({ metadata }) => metadata.name.startsWith(`${ref.name}-`))
      if (owned) return { namespace: ref.namespace, name: owned.metadata.name }
      throw new UserError(`replicaset "${ref.name}" has no pod in namespace ${ref.namespace}`)
    }
    if (/^(svc|service|services)$/.test(kind)) {
      const chosen = await this.podOfService(ref, pods)
      return { namespace: ref.namespace, name: chosen.metadata.name }
    }
    throw new UserError(`${kind}/: name a pod, a deployment, a replicaset or a service`, 64)
  }

  /** The first pod that a Service selects. */
  private async podOfService(ref: PodRef, pods: readonly MeshObject[]): Promise<MeshObject> {
    const services = await this.objects('Service', ref.namespace)
    const service = services.find(({ metadata }) => metadata.name === ref.name)
    if (!service) throw new UserError(`services "${ref.name}" not found in namespace ${ref.namespace}`)
    const { selector = {} } = (service.spec ?? {}) as { selector?: Readonly<Record<string, string>> }
    const wanted = Object.entries(selector)
    const chosen = pods.find(({ metadata: { labels = {} } }) => wanted.every(([key, value]) => labels[key] === value))
    if (chosen && wanted.length > 0) return chosen
    throw new UserError(`service "${ref.name}" selects no pod in namespace ${ref.namespace}`)
  }

  podRequest(pod: PodRef, port: number, method: 'GET' | 'POST', path: string): Promise<HttpAnswer> {
    return this.client.request({ pod: pod.name, namespace: pod.namespace, loopbackPort: port }, method, path)
  }

  pilotRequest(path: string): Promise<HttpAnswer> {
    return this.client.request({ nodePort: PILOT_DEBUG_PORT }, 'GET', path)
  }

  controlZRequest(method: 'GET' | 'PUT', path: string, json?: string): Promise<HttpAnswer> {
    return this.client.request({ nodePort: CONTROLZ_PORT }, method, path, json)
  }

  async podLog(pod: PodRef, container: string, lines: number): Promise<string> {
    const stream = await this.client.logs({ namespace: pod.namespace, pod: pod.name, container, tail: lines })
    const chunks: Buffer[] = []
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk)
    return Buffer.concat(chunks).toString('utf8')
  }

  async objects(kind: string, namespace?: string): Promise<readonly MeshObject[]> {
    return (await this.client.call('list', { kind, namespace })) as readonly MeshObject[]
  }
}

/** `name.namespace` where the name itself has no dot, else the given namespace. */
function splitName(text: string, namespace: string): PodRef {
  const dot = text.lastIndexOf('.')
  return dot > 0 ? { name: text.slice(0, dot), namespace: text.slice(dot + 1) } : { name: text, namespace }
}

/** Pods of a Deployment are named `<deployment>-<replica set>-<pod>`. */
function ownedBy(pod: MeshObject, deployment: string): boolean {
  const name = pod.metadata.name
  if (!name.startsWith(`${deployment}-`)) return false
  return /^[a-z0-9]+-[a-z0-9]+$/.test(name.slice(deployment.length + 1))
}
