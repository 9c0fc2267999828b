import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorText } from '../base/errors.ts'
import { CLUSTER_DOMAIN, DNS_VIP, NODE_IP } from './addresses.ts'
import { type ContainerHost, ImageError, RunningContainer } from './container.ts'
import { ContainerProcess } from './container-process.ts'
import type { ImageCatalogue } from './images.ts'
import { NODE_PATHS, visibleInContainers } from './node-setup.ts'
import { ContainerConfigError, containerEnv, expandReferences, type ObjectReader } from './pod-env.ts'
import { createPodNetwork, type PodNetwork, removePodNetwork } from './pod-network.ts'
import { podStatus } from './pod-status.ts'
import type { Container, Pod, PodStatus } from './pod-types.ts'
import type { ProbeTarget } from './probes.ts'
import { run } from './run.ts'
import { containerMounts, writeVolumes } from './volumes.ts'

/** What pods share: the kubelet gives it to each of them. */
export interface PodEnvironment {
  readonly images: ImageCatalogue
  readonly logDir: string
  read(namespace: string): ObjectReader
  signToken(pod: Pod, audience: string, expirationSeconds: number): Promise<string>
  /** Waits for a turn to start a program; the returned function gives the turn back. */
  startTurn(): Promise<() => void>
  /** Called when the pod's status changed. */
  changed(worker: PodWorker): void
  event(pod: Pod, message: string): void
}

/** Users of pods that name none: a number of their own each, far from the machine's accounts. */
const FIRST_POD_UID = 20_000
/** How long a starting program keeps others from starting: its own start costs most of its CPU. */
const START_TURN_MS = 4_000
const DEFAULT_GRACE_S = 30
/** Projected tokens are renewed on disk at half their life at the latest (kubelet renews at 80 %). */
const VOLUME_REFRESH_MS = 300_000

/** One pod on this machine: network namespace, volumes, init containers in order, then the containers. */
export class PodWorker implements ContainerHost {
  readonly pod: Pod
  readonly restartPolicy: 'Always' | 'OnFailure' | 'Never'
  readonly podNumber: number
  readonly ip: string
  private readonly environment: PodEnvironment
  private readonly startTime = new Date()
  private readonly dir: string
  private readonly initContainers: RunningContainer[]
  private readonly containers: RunningContainer[]
  private network: PodNetwork | undefined
  private volumes = new Map<string, string>()
  /** The status last written to the store. */
  reported: PodStatus | undefined
  private failure: string | undefined
  private stopping = false
  private started: Promise<void> | undefined
  private refresh: NodeJS.Timeout | undefined
  private wakeInit: (() => void) | undefined

  constructor(pod: Pod, podNumber: number, ip: string, environment: PodEnvironment) {
    this.pod = pod
    this.podNumber = podNumber
    this.ip = ip
    this.environment = environment
    this.restartPolicy = pod.spec.restartPolicy ?? 'Always'
    this.dir = join(NODE_PATHS.pods, pod.metadata.uid!)
    this.initContainers = (pod.spec.initContainers ?? []).map((spec) => new RunningContainer(spec, this, true))
    this.containers = pod.spec.containers.map((spec) => new RunningContainer(spec, this, false))
  }

  /** Brings the pod up; never rejects: what goes wrong is the pod's status. */
  start(): void {
    this.started = this.bringUp().catch((error: unknown) => {
      this.failure = errorText(error)
      this.environment.event(this.pod, `FailedCreatePodSandBox: ${this.failure}`)
      this.changed()
    })
  }

  private async bringUp(): Promise<void> {
    this.network = await createPodNetwork(this.podNumber, this.ip)
    this.writePodFiles()
    this.changed()
    for (const container of this.initContainers) {
      await container.start()
      await this.untilInitDone(container)
      if (this.stopping) return
    }
    await Promise.all(this.containers.map((container) => container.start()))
    this.refresh = setInterval(() => void this.refreshVolumes(), VOLUME_REFRESH_MS)
  }

  private async untilInitDone(container: RunningContainer): Promise<void> {
    while (!this.stopping && container.status.state.terminated?.exitCode !== 0) {
      await new Promise<void>((resolve) => (this.wakeInit = resolve))
    }
  }

  private writePodFiles(): void {
    mkdirSync(this.dir, { recursive: true })
    const { name, namespace } = this.pod.metadata
    const search = [`${namespace}.svc.${CLUSTER_DOMAIN}`, `svc.${CLUSTER_DOMAIN}`, CLUSTER_DOMAIN].join(' ')
    writeFileSync(join(this.dir, 'resolv.conf'), `search ${search}\nnameserver ${DNS_VIP}\noptions ndots:5\n`)
    writeFileSync(
      join(this.dir, 'hosts'),
      `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${this.ip}\t${name}\n`,
    )
  }

  private async refreshVolumes(): Promise<void> {
    try {
      await this.writeVolumes()
    } catch (error) {
      this.environment.event(this.pod, `volumes could not be renewed: ${errorText(error)}`)
    }
  }

  private async writeVolumes(): Promise<void> {
    const { pod } = this
    // Private files have one reader in a pod: the sidecar or gateway, else the pod's own user.
    const privileged = pod.spec.containers.find((c) => this.environment.images.find(c.image ?? '')?.user !== undefined)
    const uid = this.userOf(privileged ?? pod.spec.containers[0]!)
    this.volumes = await writeVolumes(this.podNow(), join(this.dir, 'volumes'), uid, {
      read: this.environment.read(pod.metadata.namespace!),
      signToken: (audience, seconds) => this.environment.signToken(pod, audience, seconds),
    })
  }

  /** Name in /run/netns; undefined until the pod has its network. */
  get networkNamespace(): string | undefined {
    return this.network?.namespace
  }

  /** The pod as the downward API shows it: with the address it has got. */
  private podNow(): Pod {
    return { ...this.pod, status: this.status() }
  }

  async startContainer(container: Container, attempt: number): Promise<ContainerProcess> {
    const { images } = this.environment
    const { spec, metadata } = this.pod
    if (spec.hostNetwork) throw new ContainerConfigError('hostNetwork is not offered: the host network stays untouched')
    const image = images.find(container.image ?? '')
    if (!image && !container.command) {
      throw new ImageError(
        `image "${container.image ?? ''}" is not known here; add it to images.yaml, or give the container a command`,
      )
    }
    await this.writeVolumes()
    const workingDir = container.workingDir ?? (image?.workingDir ? await visibleInContainers(image.workingDir) : '/')
    const declared = containerEnv(this.podNow(), container, this.environment.read(metadata.namespace!))
    const env = {
      PATH: `${NODE_PATHS.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      HOME: '/tmp',
      HOSTNAME: metadata.name,
      NODE_COMPILE_CACHE: NODE_PATHS.cache,
      ...image?.env,
      ...declared,
    }
    const uid = this.userOf(container)
    const argv = [
      ...(container.command ?? image!.command),
      ...(container.args ?? (container.command ? [] : image!.args)),
    ].map((word) => expandReferences(word, env))
    const release = await this.environment.startTurn()
    try {
      if (this.stopping) throw new Error('the pod is being deleted')
      return new ContainerProcess({
        networkNamespace: this.network!.namespace,
        podDir: this.dir,
        containerDir: join(this.dir, 'containers', container.name),
        hostname: spec.hostname ?? metadata.name,
        workingDir,
        uid,
        gid: container.securityContext?.runAsGroup ?? spec.securityContext?.runAsGroup ?? uid,
        argv,
        env,
        mounts: containerMounts(container, this.volumes),
        logFile: this.logFile(container.name, attempt),
      })
    } finally {
      this.holdTurn(container, release)
    }
  }

  /** Gives the turn back when the container is ready, or after a while. */
  private holdTurn(container: Container, release: () => void): void {
    const running = this.containers.find((c) => c.spec === container)
    const until = Date.now() + START_TURN_MS
    const poll = setInterval(() => {
      if (running && !running.status.ready && !this.stopping && Date.now() < until && !running.status.state.terminated)
        return
      clearInterval(poll)
      release()
    }, 50)
  }

  private userOf(container: Container): number {
    return (
      container.securityContext?.runAsUser ??
      this.pod.spec.securityContext?.runAsUser ??
      this.environment.images.find(container.image ?? '')?.user ??
      FIRST_POD_UID + this.podNumber
    )
  }

  logFile(container: string, attempt: number): string {
    const { namespace, name, uid } = this.pod.metadata
    return join(this.environment.logDir, `${namespace}_${name}_${uid}`, container, `${attempt}.log`)
  }

  probeTarget(container: Container): ProbeTarget {
    return {
      podIp: this.ip,
      container,
      exec: async (command, timeoutMs) => {
        const pid = this.find(container.name)?.process?.pid
        if (pid === undefined) throw new Error('container is not running')
        await run('nsenter', ['-t', String(pid), '--all', '--', ...command], { timeoutMs })
      },
    }
  }

  find(container: string): RunningContainer | undefined {
    return [...this.containers, ...this.initContainers].find((c) => c.spec.name === container)
  }

  /** Ends the pod: SIGTERM to all containers, SIGKILL after the grace period, then its network and files go. */
  async stop(): Promise<void> {
    this.stopping = true
    clearInterval(this.refresh)
    this.wakeInit?.()
    const graceMs = (this.pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_S) * 1000
    await Promise.all([...this.initContainers, ...this.containers].map((c) => c.stop(graceMs)))
    await this.started
    await Promise.all([...this.initContainers, ...this.containers].map((c) => c.stop(0)))
    if (this.network) await removePodNetwork(this.network)
    rmSync(this.dir, { recursive: true, force: true })
  }

  status(): PodStatus {
    return podStatus({
      previous: this.reported,
      startTime: this.startTime.toISOString(),
      podIp: this.network ? this.ip : undefined,
      hostIp: NODE_IP,
      failure: this.failure,
      restartPolicy: this.restartPolicy,
      initContainers: this.initContainers.map((c) => c.status),
      containers: this.containers.map((c) => c.status),
    })
  }

  changed(): void {
    this.wakeInit?.()
    this.environment.changed(this)
  }

  event(message: string): void {
    this.environment.event(this.pod, message)
  }
}
