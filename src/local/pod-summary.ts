import type { ContainerStatus, Pod } from './pod-types.ts'

export interface PodSummary {
  readonly ready: number
  readonly total: number
  /** The word of kubectl's STATUS column. */
  readonly status: string
  readonly restarts: number
  /** Why the pod is not running, when it says. */
  readonly message?: string
}

/** What `kubectl get pods` shows of a pod, by kubectl's rules. */
export function podSummary(pod: Pod): PodSummary {
  const containers = pod.status?.containerStatuses ?? []
  const inits = pod.status?.initContainerStatuses ?? []
  const ready = containers.filter((c) => c.ready).length
  const restarts = containers.reduce((sum, c) => sum + c.restartCount, 0)
  const base = { ready, total: pod.spec.containers.length, restarts }
  const message =
    pod.status?.message ?? [...inits, ...containers].map((c) => c.state.waiting?.message).find((text) => text)
  return { ...base, status: statusWord(pod, inits, containers), ...(message ? { message } : {}) }
}

function statusWord(pod: Pod, inits: readonly ContainerStatus[], containers: readonly ContainerStatus[]): string {
  if (pod.metadata.deletionTimestamp) return 'Terminating'
  if (pod.status?.reason) return pod.status.reason
  for (const [i, init] of inits.entries()) {
    const { terminated, waiting } = init.state
    if (terminated?.exitCode === 0) continue
    if (terminated) return `Init:${terminated.reason}`
    if (waiting && waiting.reason !== 'PodInitializing') return `Init:${waiting.reason}`
    return `Init:${i}/${inits.length}`
  }
  let word: string = pod.status?.phase ?? 'Pending'
  let running = false
  for (const { state } of [...containers].reverse()) {
    if (state.waiting)
      word =
        state.waiting.reason === 'PodInitializing'
          ? inits.length > 0
            ? 'PodInitializing'
            : 'ContainerCreating'
          : state.waiting.reason
    else if (state.terminated) word = state.terminated.reason
    else if (state.running) running = true
  }
  return word === 'Completed' && running ? 'Running' : word
}
