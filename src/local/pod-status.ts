import type { Condition, ContainerStatus, PodStatus } from './pod-types.ts'

export interface PodStatusInput {
  /** The status reported before, for the times conditions changed. */
  readonly previous: PodStatus | undefined
  readonly startTime: string
  readonly podIp: string | undefined
  readonly hostIp: string
  /** Why the pod as a whole cannot run. */
  readonly failure: string | undefined
  readonly restartPolicy: 'Always' | 'OnFailure' | 'Never'
  readonly initContainers: readonly ContainerStatus[]
  readonly containers: readonly ContainerStatus[]
}

/** A pod's status from its containers', by kubelet's rules. */
export function podStatus(input: PodStatusInput, now = new Date().toISOString()): PodStatus {
  const { containers, initContainers, podIp } = input
  const initialized = initContainers.every((c) => c.state.terminated?.exitCode === 0)
  const ready = initialized && containers.every((c) => c.ready)
  const unready = containers.filter((c) => !c.ready).map((c) => c.name)
  const why = ready
    ? undefined
    : { reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` }
  const condition = (type: string, holds: boolean, detail?: { reason: string; message: string }): Condition => {
    const status = holds ? 'True' : 'False'
    const before = input.previous?.conditions.find((c) => c.type === type)
    return { type, status, lastTransitionTime: before?.status === status ? before.lastTransitionTime : now, ...detail }
  }
  return {
    phase: phaseOf(input, initialized),
    conditions: [
      condition('PodScheduled', true),
      condition('Initialized', initialized),
      condition('ContainersReady', ready, why),
      condition('Ready', ready, why),
    ],
    hostIP: input.hostIp,
    ...(podIp ? { podIP: podIp, podIPs: [{ ip: podIp }] } : {}),
    startTime: input.startTime,
    ...(input.failure ? { reason: 'FailedCreatePodSandBox', message: input.failure } : {}),
    ...(initContainers.length > 0 ? { initContainerStatuses: initContainers.map(whenDone) } : {}),
    containerStatuses: [...containers],
  }
}

/** An init container that has done its work is ready. */
function whenDone(status: ContainerStatus): ContainerStatus {
  return status.state.terminated?.exitCode === 0 ? { ...status, ready: true } : status
}

function phaseOf(input: PodStatusInput, initialized: boolean): PodStatus['phase'] {
  const { containers, initContainers, restartPolicy } = input
  if (
    restartPolicy === 'Never' &&
    initContainers.some((c) => c.state.terminated && c.state.terminated.exitCode !== 0)
  ) {
    return 'Failed'
  }
  if (!initialized) return 'Pending'
  const ends = containers.map((c) => c.state.terminated)
  if (restartPolicy !== 'Always' && ends.every((end) => end !== undefined)) {
    if (ends.every((end) => end!.exitCode === 0)) return 'Succeeded'
    if (restartPolicy === 'Never') return 'Failed'
  }
  const anyStarted = containers.some((c) => c.state.running || c.state.terminated || c.lastState.terminated)
  return anyStarted ? 'Running' : 'Pending'
}
