import { availableParallelism } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { MemoryStore } from '../cluster/index.ts'
import { NODE_NAME, PodAddresses } from './addresses.ts'
import type { EventLog } from './event-log.ts'
import type { ImageCatalogue } from './images.ts'
import type { Pod } from './pod-types.ts'
import { type PodEnvironment, PodWorker } from './pod-worker.ts'
import { Turns } from './turns.ts'

export interface KubeletOptions {
  readonly store: MemoryStore
  readonly images: ImageCatalogue
  readonly events: EventLog
  readonly logDir: string
  readonly log: Logger
  readonly signToken: SignToken
}

/** A service-account token for one audience. */
export type SignToken = (
  namespace: string,
  serviceAccount: string,
  audience: string,
  expirationSeconds: number,
) => Promise<string>

/** Runs every Pod object of the store on this machine, and keeps each one's status in the store. */
export class Kubelet implements PodEnvironment {
  readonly images: ImageCatalogue
  readonly logDir: string
  private readonly options: KubeletOptions
  private readonly workers = new Map<string, PodWorker>()
  private readonly ending = new Map<string, Promise<void>>()
  private readonly addresses = new PodAddresses()
  private readonly turns = new Turns(Math.max(2, availableParallelism()))
  private readonly dirty = new Set<PodWorker>()
  private podNumber = 0
  private readonly unwatch: () => void

  constructor(options: KubeletOptions) {
    this.options = options
    this.images = options.images
    this.logDir = options.logDir
    this.unwatch = options.store.watch((events) => {
      for (const { kind, object, type } of events) if (kind === 'Pod') this.reconcile(object as Pod, type === 'deleted')
    })
    for (const pod of options.store.list('Pod')) this.reconcile(pod as Pod, false)
  }

  private reconcile(pod: Pod, deleted: boolean): void {
    const uid = pod.metadata.uid!
    const worker = this.workers.get(uid)
    if (pod.metadata.deletionTimestamp || deleted) {
      if (worker) this.end(worker)
      else if (!deleted) this.removePod(pod)
      return
    }
    if (worker || pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return
    const started = new PodWorker(pod, this.podNumber++, this.addresses.allocate(), this)
    this.workers.set(uid, started)
    started.start()
  }

  private end(worker: PodWorker): void {
    const { uid } = worker.pod.metadata
    if (this.ending.has(uid!)) return
    const ended = worker
      .stop()
      .catch((error: unknown) => this.options.log.error(`pod ${worker.pod.metadata.name}: ${errorText(error)}`))
      .then(() => {
        this.workers.delete(uid!)
        this.ending.delete(uid!)
        this.addresses.release(worker.ip)
        this.removePod(worker.pod)
      })
    this.ending.set(uid!, ended)
  }

  /** Takes the object away, unless a new pod of the same name has taken its place. */
  private removePod({ metadata }: Pod): void {
    const now = this.options.store.get('Pod', metadata.namespace, metadata.name)
    if (now?.metadata.uid !== metadata.uid) return
    this.options.store.remove([{ kind: 'Pod', namespace: metadata.namespace, name: metadata.name }])
  }

  /** The worker of a pod, for logs and exec. */
  worker(namespace: string, name: string): PodWorker | undefined {
    const pod = this.options.store.get('Pod', namespace, name)
    return pod && this.workers.get(pod.metadata.uid!)
  }

  read(namespace: string) {
    return (kind: 'ConfigMap' | 'Secret', name: string) => this.options.store.get(kind, namespace, name)
  }

  signToken(pod: Pod, audience: string, expirationSeconds: number): Promise<string> {
    const { namespace } = pod.metadata
    return this.options.signToken(namespace!, pod.spec.serviceAccountName ?? 'default', audience, expirationSeconds)
  }

  startTurn(): Promise<() => void> {
    return this.turns.take()
  }

  event(pod: Pod, message: string): void {
    this.options.events.add(pod, message)
  }

  changed(worker: PodWorker): void {
    if (this.dirty.size === 0) queueMicrotask(() => this.flush())
    this.dirty.add(worker)
  }

  /** Writes all changed statuses as one batch, so that endpoint changes of one moment make one push. */
  private flush(): void {
    const puts = []
    for (const worker of this.dirty) {
      const { metadata } = worker.pod
      const object = this.options.store.get('Pod', metadata.namespace, metadata.name) as Pod | undefined
      if (object?.metadata.uid !== metadata.uid) continue
      const status = worker.status()
      if (isDeepStrictEqual(object!.status, status)) continue
      worker.reported = status
      puts.push({ object: { ...object!, spec: { ...object!.spec, nodeName: NODE_NAME }, status } })
    }
    this.dirty.clear()
    this.options.store.put(puts)
  }

  /** Ends every pod; what does not end in `graceMs` dies with the node's PID namespace. */
  async stopAll(graceMs: number): Promise<void> {
    this.unwatch()
    for (const worker of this.workers.values()) this.end(worker)
    const patience = new Promise<void>((resolve) => setTimeout(resolve, graceMs).unref())
    await Promise.race([Promise.all(this.ending.values()), patience])
  }
}
