import { chmodSync, createReadStream, rmSync, statSync } from 'node:fs'
import * as http from 'node:http'
import { errorText, UserError } from '../base/errors.ts'
import type { KubeObject, MemoryStore } from '../cluster/index.ts'
import type { Admission } from './admission.ts'
import type { ApiOperations, ContainerInfo, LogRequest, MeshStatus } from './api.ts'
import { BalancedServiceWatch } from './balanced-services.ts'
import type { ControlPlane } from './control-plane.ts'
import { ownerDeployment } from './deployments.ts'
import type { EventLog } from './event-log.ts'
import { type ApplyReport, applyManifests, type FolderFile, FolderSource, keyOf } from './folder-source.ts'
import type { ImageCatalogue } from './images.ts'
import type { Kubelet, SignToken } from './kubelet.ts'
import { followFile, tailOffset } from './log-file.ts'
import { readManifests } from './manifest.ts'
import { podSummary } from './pod-summary.ts'
import { isPodReady, type Pod } from './pod-types.ts'
import type { PodWorker } from './pod-worker.ts'
import { refusalKey, refusalProblems } from './refusals.ts'
import { resourceType } from './resource-names.ts'

const TOKEN_SECONDS = 3600
const MAX_BODY_BYTES = 64 * 2 ** 20
/** A proxy that does not answer must not hold up who applies. */
const SETTLE_LIMIT_MS = 3_000

export interface ApiServerOptions {
  readonly store: MemoryStore
  readonly admission: Admission
  readonly images: ImageCatalogue
  readonly kubelet: Kubelet
  readonly events: EventLog
  readonly info: Pick<MeshStatus, 'proxy'>
  shutdown(): undefined
  readonly settled: ControlPlane['settled']
  readonly signToken: SignToken
}

/** The embedded cluster's API: JSON over HTTP on a Unix socket, `POST /v1/OPERATION`, and `POST /v1/logs` as a stream. */
export class ApiServer {
  private readonly options: ApiServerOptions
  private readonly folder: FolderSource
  private readonly balanced: BalancedServiceWatch
  private readonly server: http.Server

  constructor(options: ApiServerOptions) {
    this.options = options
    this.folder = new FolderSource(options.store, options.admission, options.images)
    this.balanced = new BalancedServiceWatch(options.store)
    this.server = http.createServer((request, response) => {
      this.serve(request, response).catch((error: unknown) => {
        if (response.headersSent) return void response.destroy()
        const known = error instanceof UserError
        response.writeHead(known ? 422 : 500, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ message: errorText(error), exitCode: known ? error.exitCode : 1 }))
      })
    })
  }

  async listen(socketPath: string): Promise<void> {
    rmSync(socketPath, { force: true })
    await new Promise<void>((resolve, reject) => this.server.once('error', reject).listen(socketPath, resolve))
    // Whoever may write here controls the mesh: root only, like the processes it starts.
    chmodSync(socketPath, 0o600)
  }

  private async serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const name = /^\/v1\/([a-z-]+)$/i.exec(request.url ?? '')?.[1]
    const body = await readBody(request)
    if (name === 'logs') return this.streamLogs(body as LogRequest, response)
    const operation =
      name && Object.hasOwn(this.operations, name) ? this.operations[name as keyof ApiOperations] : undefined
    if (request.method !== 'POST' || !operation)
      throw new UserError(`no such operation: ${request.method} ${request.url}`)
    const result = await (operation as (input: unknown) => unknown)(body)
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(result ?? null))
  }

  private readonly operations: {
    [K in keyof ApiOperations]: (
      input: ApiOperations[K]['input'],
    ) => ApiOperations[K]['output'] | Promise<ApiOperations[K]['output']>
  } = {
    status: () => this.status(),
    shutdown: () => this.options.shutdown(),
    folder: ({ files, everything }) => this.withRefusals(() => this.folder.update(files, everything)),
    apply: ({ files }) => this.withRefusals(() => applyManifests(this.options.store, this.options.admission, files)),
    delete: ({ targets }) => this.options.admission.delete(targets),
    deleteManifests: ({ files }) => this.deleteManifests(files),
    list: ({ kind, namespace }) => this.options.store.list(kind, namespace),
    resourceType: ({ word }) => resourceType(word, (kind) => this.options.store.list(kind).length > 0),
    events: () => this.options.events.events,
    patch: ({ kind, namespace, name, labels, replicas }) =>
      this.options.admission.update(kind, namespace, name, (object) => patched(object, labels, replicas)),
    container: ({ namespace, pod, container }) => this.containerInfo(namespace, pod, container),
    serviceAccountToken: ({ namespace, serviceAccount, audience }) =>
      this.options.signToken(namespace, serviceAccount, audience, TOKEN_SECONDS),
    balancedServices: ({ since }) => this.balanced.next(since),
  }

  /** What is well-formed may still be more than a proxy can do: its refusal is part of the answer. */
  private async withRefusals(apply: () => ApplyReport): Promise<ApplyReport> {
    const before = new Set((await this.options.settled(0)).map(refusalKey))
    const report = apply()
    if (report.applied.every(({ action }) => action === 'unchanged')) return report
    const refused = (await this.options.settled(SETTLE_LIMIT_MS)).filter((one) => !before.has(refusalKey(one)))
    return { ...report, problems: [...report.problems, ...refusalProblems(refused)] }
  }

  private status(): MeshStatus {
    const pods = (this.options.store.list('Pod') as Pod[]).map((pod) => ({
      namespace: pod.metadata.namespace!,
      name: pod.metadata.name,
      ...podSummary(pod),
    }))
    const deployments = this.options.store.list('Deployment.apps').map((object) => {
      const { spec, status } = object as {
        spec?: { replicas?: number }
        status?: { updatedReplicas?: number; readyReplicas?: number }
      }
      const want = spec?.replicas ?? 1
      const done = (status?.updatedReplicas ?? 0) === want && (status?.readyReplicas ?? 0) >= want
      return {
        namespace: object.metadata.namespace!,
        name: object.metadata.name,
        want,
        ready: status?.readyReplicas ?? 0,
        done,
      }
    })
    return { ...this.options.info, pods, deployments }
  }

  private deleteManifests(files: readonly FolderFile[]): string[] {
    const read = files.map(({ file, text }) => readManifests(file, text ?? ''))
    const error = read.flatMap((r) => r.problems).find(({ level }) => level === 'error')
    if (error) throw new UserError(`${error.file}:${error.line}: ${error.message}`, 65)
    return this.options.admission.delete(read.flatMap((r) => r.objects).map(({ object }) => keyOf(object)))
  }

  /** A pod's name as given, or the first pod of `deploy/NAME`, a ready one before others. */
  private podName(namespace: string, word: string): string {
    const deployment = /^(?:deploy|deployments?)(?:\.apps)?\/(.+)$/.exec(word)?.[1]
    if (deployment === undefined) return word
    const pods = (this.options.store.list('Pod', namespace) as Pod[]).filter(
      (pod) => ownerDeployment(pod) === deployment && !pod.metadata.deletionTimestamp,
    )
    const pod = pods.find(isPodReady) ?? pods[0]
    if (!pod) throw new UserError(`deployment ${deployment} in namespace ${namespace} has no pod`)
    return pod.metadata.name
  }

  private findContainer(
    namespace: string,
    pod: string,
    container: string | undefined,
  ): { worker: PodWorker; name: string } {
    const worker = this.options.kubelet.worker(namespace, this.podName(namespace, pod))
    if (!worker) throw new UserError(`pods "${pod}" not found in namespace ${namespace}`)
    const { metadata, spec } = worker.pod
    const name =
      container ?? metadata.annotations?.['kubectl.kubernetes.io/default-container'] ?? spec.containers[0]!.name
    if (!worker.find(name)) {
      const names = [...spec.containers, ...(spec.initContainers ?? [])].map((c) => c.name).join(', ')
      throw new UserError(`container ${name} is not valid for pod ${pod}; choose one of: ${names}`)
    }
    return { worker, name }
  }

  private containerInfo(namespace: string, pod: string, container: string | undefined): ContainerInfo {
    const { worker, name } = this.findContainer(namespace, pod, container)
    const running = worker.find(name)!
    const { process } = running
    if (process?.pid === undefined) throw new UserError(`container ${name} of pod ${pod} is not running`)
    return { container: name, pid: process.pid, env: process.env, workingDir: process.workingDir }
  }

  private async streamLogs(request: LogRequest, response: http.ServerResponse): Promise<void> {
    const { worker, name } = this.findContainer(request.namespace, request.pod, request.container)
    const restarts = worker.find(name)!.status.restartCount
    if (request.previous && restarts === 0) {
      throw new UserError(`previous terminated container "${name}" in pod "${request.pod}" not found`)
    }
    const file = worker.logFile(name, request.previous ? restarts - 1 : restarts)
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' })
    if (!statSync(file, { throwIfNoEntry: false })) {
      if (!request.follow) return void response.end()
    }
    const start = request.tail === undefined ? 0 : await tailOffset(file, request.tail)
    if (request.follow) return followFile(file, start, response)
    createReadStream(file, { start })
      .on('error', () => response.destroy())
      .pipe(response)
  }
}

function patched(
  object: KubeObject,
  labels: Record<string, string | null> | undefined,
  replicas: number | undefined,
): KubeObject {
  let result = object
  if (labels) {
    const merged = Object.entries({ ...object.metadata.labels, ...labels }).filter(([, value]) => value !== null)
    result = {
      ...result,
      metadata: { ...result.metadata, labels: Object.fromEntries(merged) as Record<string, string> },
    }
  }
  if (replicas !== undefined) result = { ...result, spec: { ...(result.spec as object), replicas } }
  return result
}

async function readBody(request: http.IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw new UserError('request is too large')
    chunks.push(chunk)
  }
  const text = Buffer.concat(chunks).toString('utf8')
  return text === '' ? {} : JSON.parse(text)
}
