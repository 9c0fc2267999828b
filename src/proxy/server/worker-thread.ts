// Entry of a worker thread: applies updates one after another and answers each.

import { enableCompileCache, flushCompileCache } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { errorText } from '../../base/errors.ts'
import { releaseStartupMemory } from '../../base/startup-memory.ts'
import type { FromWorker, ToWorker, WorkerSettings } from './messages.ts'

const port = parentPort
if (port === null) throw new Error('worker-thread.ts runs as a worker thread only')
const main = port

// The main thread's compile cache does not reach here; without it every worker compiles all sources anew.
enableCompileCache()
const { DataPlaneWorker } = await import('./worker.ts')
flushCompileCache()
const worker = new DataPlaneWorker(workerData as WorkerSettings)
worker.faults.outlive()
releaseStartupMemory()

let last: Promise<void> = Promise.resolve()

function answer(message: FromWorker): void {
  main.postMessage(message)
}

async function apply(message: Extract<ToWorker, { update: unknown }>): Promise<void> {
  try {
    answer({ id: message.id, error: null, bound: await worker.apply(message.update) })
  } catch (error) {
    answer({ id: message.id, error: errorText(error), bound: null })
  }
}

main.on('message', (message: ToWorker) => {
  if ('query' in message) answer({ id: message.id, answer: worker.answer(message.query) })
  else if ('awaitCluster' in message)
    void worker.whenWarm(message.awaitCluster).then(() => answer({ id: message.id, answer: true }))
  else last = last.then(() => apply(message))
})
