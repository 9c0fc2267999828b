// The workers as the main thread drives them: one inline, or several threads. All get the same updates in the same order.

import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { errorText } from '../../base/errors.ts'
import type { Address } from '../network/connection.ts'
import type { PeerPorts } from '../upstream/peers.ts'
import type { FromWorker, ToWorker, WorkerAnswers, WorkerQuery, WorkerSettings, WorkerUpdate } from './messages.ts'

/** One worker, wherever it runs. */
interface WorkerHandle {
  /** Rejects with the worker's reason. */
  apply(update: WorkerUpdate): Promise<readonly Address[] | null>
  query<Q extends WorkerQuery>(query: Q): Promise<WorkerAnswers[Q]>
  whenWarm(cluster: string): Promise<void>
  terminate(): Promise<void>
}

export interface Workers {
  readonly count: number
  /** To all of them; rejects with the first reason. Updates are applied in the order of the calls. */
  apply(update: WorkerUpdate): Promise<readonly Address[] | null>
  /** The answer of every worker, by index. */
  query<Q extends WorkerQuery>(query: Q): Promise<WorkerAnswers[Q][]>
  /** Resolves when the newest version of a cluster serves in every worker. */
  whenWarm(cluster: string): Promise<void>
  close(): Promise<void>
}

/** `concurrency` 1 runs inline on this thread: a thread costs 15 MB and every update a copy. */
export async function startWorkers(
  settings: Omit<WorkerSettings, 'index' | 'peers' | 'connectionPorts'>,
  onCrash: (error: Error) => void,
): Promise<Workers> {
  const handles: WorkerHandle[] = []
  if (settings.concurrency === 1)
    handles.push(await startInline({ ...settings, index: 0, peers: { leads: true, ports: [] }, connectionPorts: [] }))
  else {
    const connectionPorts = connectAll(settings.concurrency)
    for (const [index, peers] of connectPeers(settings.concurrency).entries())
      handles.push(new ThreadWorker({ ...settings, index, peers, connectionPorts: connectionPorts[index]! }, onCrash))
  }
  return new WorkerPool(handles)
}

/** The first worker leads and is connected with each of the others. */
function connectPeers(count: number): PeerPorts[] {
  const channels = Array.from({ length: count - 1 }, () => new MessageChannel())
  return [
    { leads: true, ports: channels.map((channel) => channel.port1) },
    ...channels.map((channel) => ({ leads: false, ports: [channel.port2] })),
  ]
}

/** Each worker's ports to each of the others. */
function connectAll(count: number): (MessagePort | null)[][] {
  const ports = Array.from({ length: count }, () => Array<MessagePort | null>(count).fill(null))
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      const { port1, port2 } = new MessageChannel()
      ports[i]![j] = port1
      ports[j]![i] = port2
    }
  }
  return ports
}

class WorkerPool implements Workers {
  private readonly handles: readonly WorkerHandle[]
  private last: Promise<unknown> = Promise.resolve()

  constructor(handles: readonly WorkerHandle[]) {
    this.handles = handles
  }

  get count(): number {
    return this.handles.length
  }

  apply(update: WorkerUpdate): Promise<readonly Address[] | null> {
    const result = this.last.then(() => this.applyAll(update))
    this.last = result.catch(() => {})
    return result
  }

  query<Q extends WorkerQuery>(query: Q): Promise<WorkerAnswers[Q][]> {
    return Promise.all(this.handles.map((handle) => handle.query(query)))
  }

  async whenWarm(cluster: string): Promise<void> {
    await Promise.all(this.handles.map((handle) => handle.whenWarm(cluster)))
  }

  async close(): Promise<void> {
    try {
      await this.apply({ kind: 'close' })
    } finally {
      await Promise.all(this.handles.map((handle) => handle.terminate()))
    }
  }

  /** The first worker decides: a port of 0 is resolved by it, and what it refuses the others never see. */
  private async applyAll(update: WorkerUpdate): Promise<readonly Address[] | null> {
    const [first, ...others] = this.handles
    const bound = await first!.apply(update)
    const rest =
      update.kind === 'listener' && bound !== null
        ? { ...update, config: { ...update.config, addresses: bound } }
        : update
    await Promise.all(others.map((handle) => handle.apply(rest)))
    return bound
  }
}

async function startInline(settings: WorkerSettings): Promise<WorkerHandle> {
  const { DataPlaneWorker } = await import('./worker.ts')
  const worker = new DataPlaneWorker(settings)
  return {
    apply: (update) => worker.apply(update),
    query: async (query) => worker.answer(query),
    whenWarm: (cluster) => worker.whenWarm(cluster),
    terminate: async () => {},
  }
}

interface Waiting {
  resolve(value: unknown): void
  reject(error: Error): void
}

/** Three semi-spaces of 2 MB: what the launcher gives the main thread. */
const YOUNG_GENERATION_MB = 6

class ThreadWorker implements WorkerHandle {
  private readonly thread: Worker
  private readonly waiting = new Map<number, Waiting>()
  private nextId = 0
  private ended = false

  constructor(settings: WorkerSettings, onCrash: (error: Error) => void) {
    this.thread = new Worker(new URL('./worker-thread.ts', import.meta.url), {
      workerData: settings,
      transferList: [...settings.peers.ports, ...settings.connectionPorts.filter((port) => port !== null)],
      name: `worker_${settings.index}`,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    })
    this.thread.on('message', (message: FromWorker) => this.receive(message))
    this.thread.on('error', (error: unknown) => {
      this.fail(new Error(`worker ${settings.index} failed: ${errorText(error)}`, { cause: error }), onCrash)
    })
    this.thread.on('exit', (code) => this.fail(new Error(`worker ${settings.index} ended with code ${code}`), onCrash))
  }

  apply(update: WorkerUpdate): Promise<readonly Address[] | null> {
    return this.post((id) => ({ id, update })) as Promise<readonly Address[] | null>
  }

  query<Q extends WorkerQuery>(query: Q): Promise<WorkerAnswers[Q]> {
    return this.post((id) => ({ id, query })) as Promise<WorkerAnswers[Q]>
  }

  async whenWarm(cluster: string): Promise<void> {
    await this.post((id) => ({ id, awaitCluster: cluster }))
  }

  async terminate(): Promise<void> {
    this.ended = true
    await this.thread.terminate()
  }

  private post(message: (id: number) => ToWorker): Promise<unknown> {
    // A thread that has ended answers nothing: whoever waits for it would wait for ever.
    if (this.ended) return Promise.reject(new Error('the worker has ended'))
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject })
      this.thread.postMessage(message(id))
    })
  }

  private receive(message: FromWorker): void {
    const waiting = this.waiting.get(message.id)
    if (waiting === undefined) return
    this.waiting.delete(message.id)
    if ('answer' in message) waiting.resolve(message.answer)
    else if (message.error !== null) waiting.reject(new Error(message.error))
    else waiting.resolve(message.bound)
  }

  private fail(error: Error, onCrash: (error: Error) => void): void {
    if (this.ended) return
    this.ended = true
    for (const waiting of this.waiting.values()) waiting.reject(error)
    this.waiting.clear()
    onCrash(error)
  }
}
