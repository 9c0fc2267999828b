import { errorText } from '../base/errors.ts'
import type { ContainerExit, ContainerProcess } from './container-process.ts'
import { ContainerConfigError } from './pod-env.ts'
import type { Container, ContainerState, ContainerStatus } from './pod-types.ts'
import { ProbeLoop } from './probe-loop.ts'
import type { ProbeTarget } from './probes.ts'

// kubelet's back-off: the first restart at once, then 10 s doubling to 5 min, forgotten after 10 min of running.
const BACKOFF_START_MS = 10_000
const BACKOFF_MAX_MS = 300_000
const BACKOFF_FORGET_MS = 600_000

/** What a container needs from the pod around it. */
export interface ContainerHost {
  /** Starts the program; `attempt` counts from 0. Rejects with ContainerConfigError or ImageError for a bad spec. */
  startContainer(container: Container, attempt: number): Promise<ContainerProcess>
  probeTarget(container: Container): ProbeTarget
  readonly restartPolicy: 'Always' | 'OnFailure' | 'Never'
  /** Called after every change of {@link RunningContainer.status}. */
  changed(): void
  /** Something worth telling a person who asks about the pod. */
  event(message: string): void
}

/** The image is not one this machine knows a command for. */
export class ImageError extends Error {
  override name = 'ImageError'
}

/** One container of a pod over its restarts: process, probes, back-off, status as Kubernetes reports it. */
export class RunningContainer {
  readonly spec: Container
  readonly isInit: boolean
  status: ContainerStatus
  process: ContainerProcess | undefined
  private readonly host: ContainerHost
  private probes: ProbeLoop[] = []
  private backoffMs = 0
  private retry: NodeJS.Timeout | undefined
  private stopping = false
  private attempts = 0

  constructor(spec: Container, host: ContainerHost, isInit: boolean) {
    this.spec = spec
    this.host = host
    this.isInit = isInit
    const image = spec.image ?? ''
    const state = { waiting: { reason: 'PodInitializing' } }
    this.status = {
      name: spec.name,
      image,
      imageID: image,
      ready: false,
      started: false,
      restartCount: 0,
      state,
      lastState: {},
    }
  }

  /** Starts the program. The promise settles when it runs (or waits with a reason); `finished` tells of init containers' ends. */
  async start(): Promise<void> {
    if (this.stopping) return
    const attempt = this.attempts++
    try {
      const process = await this.host.startContainer(this.spec, attempt)
      if (this.stopping) {
        process.kill('SIGKILL')
        return
      }
      this.process = process
      void process.exited.then((exit) => this.onExit(process, exit))
      this.update({
        state: { running: { startedAt: process.startedAt.toISOString() } },
        containerID: `process://${process.pid ?? ''}`,
        started: !this.spec.startupProbe,
        ready: !this.isInit && !this.spec.readinessProbe && !this.spec.startupProbe,
        restartCount: attempt,
      })
      if (!this.isInit) this.startProbes()
    } catch (error) {
      this.waitWith(error)
    }
  }

  private waitWith(error: unknown): void {
    const reason =
      error instanceof ImageError
        ? 'ErrImageNeverPull'
        : error instanceof ContainerConfigError
          ? 'CreateContainerConfigError'
          : 'RunContainerError'
    const message = errorText(error)
    this.host.event(`container ${this.spec.name}: ${reason}: ${message}`)
    this.update({ state: { waiting: { reason, message } }, ready: false })
    // What is missing (an image, a ConfigMap) may be supplied later.
    this.retry = setTimeout(() => void this.start(), CONFIG_RETRY_MS)
    this.attempts--
  }

  private startProbes(): void {
    const { startupProbe } = this.spec
    if (!startupProbe) {
      this.startSteadyProbes()
      return
    }
    const target = this.host.probeTarget(this.spec)
    const loop = new ProbeLoop(startupProbe, target, (success, message) => {
      loop.stop()
      if (!success) {
        this.killUnhealthy('Startup', message)
        return
      }
      this.update({ started: true, ready: !this.spec.readinessProbe })
      this.startSteadyProbes()
    })
    this.probes = [loop]
  }

  private startSteadyProbes(): void {
    const { readinessProbe, livenessProbe } = this.spec
    const target = this.host.probeTarget(this.spec)
    if (readinessProbe) {
      this.probes.push(
        new ProbeLoop(readinessProbe, target, (ready, message) => {
          if (!ready) this.host.event(`container ${this.spec.name}: readiness probe failed: ${message}`)
          this.update({ ready })
        }),
      )
    }
    if (livenessProbe) {
      this.probes.push(
        new ProbeLoop(livenessProbe, target, (alive, message) => {
          if (!alive) this.killUnhealthy('Liveness', message)
        }),
      )
    }
  }

  private killUnhealthy(which: string, message: string): void {
    this.host.event(`container ${this.spec.name}: ${which} probe failed, will be restarted: ${message}`)
    this.process?.kill('SIGTERM')
    const process = this.process
    setTimeout(() => process === this.process && process?.kill('SIGKILL'), UNHEALTHY_GRACE_MS).unref()
  }

  private onExit(process: ContainerProcess, exit: ContainerExit): void {
    if (process !== this.process) return
    this.process = undefined
    this.stopProbes()
    const terminated: NonNullable<ContainerState['terminated']> = {
      exitCode: exit.exitCode,
      reason: exit.exitCode === 0 ? 'Completed' : 'Error',
      startedAt: process.startedAt.toISOString(),
      finishedAt: new Date().toISOString(),
    }
    this.update({ state: { terminated }, ready: false, started: false })
    const again =
      this.host.restartPolicy === 'Always' && !this.isInit
        ? true
        : exit.exitCode !== 0 && this.host.restartPolicy !== 'Never'
    if (this.stopping || !again) return
    if (Date.now() - process.startedAt.getTime() > BACKOFF_FORGET_MS) this.backoffMs = 0
    if (this.backoffMs === 0) {
      this.backoffMs = BACKOFF_START_MS
      this.update({ lastState: { terminated } })
      void this.start()
      return
    }
    const message = `back-off ${this.backoffMs / 1000}s restarting failed container=${this.spec.name}`
    this.update({ state: { waiting: { reason: 'CrashLoopBackOff', message } }, lastState: { terminated } })
    this.retry = setTimeout(() => void this.start(), this.backoffMs)
    this.backoffMs = Math.min(this.backoffMs * 2, BACKOFF_MAX_MS)
  }

  /** Asks the program to end and takes it down after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.stopping = true
    clearTimeout(this.retry)
    this.stopProbes()
    const process = this.process
    if (!process) return
    process.kill('SIGTERM')
    const timer = setTimeout(() => process.kill('SIGKILL'), graceMs)
    await process.exited
    clearTimeout(timer)
  }

  private stopProbes(): void {
    for (const probe of this.probes) probe.stop()
    this.probes = []
  }

  private update(change: Partial<ContainerStatus>): void {
    this.status = { ...this.status, ...change }
    this.host.changed()
  }
}

const CONFIG_RETRY_MS = 2_000
const UNHEALTHY_GRACE_MS = 30_000
