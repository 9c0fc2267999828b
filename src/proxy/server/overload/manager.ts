// Watches resources on the main thread and switches overload actions for all workers.

import { readFile } from 'node:fs/promises'
import { trimMemory } from '../../../base/malloc-trim.ts'
import { residentBytes } from '../../../base/memory-usage.ts'
import { OVERLOAD_SLOTS, SATURATED } from '../../network/overload-state.ts'
import type { Counter, Gauge, Histogram, Scope } from '../../observe/stats.ts'
import { type MonitorConfig, type OverloadConfig, SHRINK_HEAP, STOP_ACCEPTING, type TriggerConfig } from './config.ts'

/** Memory is given back at most this often (Envoy's timer_interval). */
const SHRINK_INTERVAL_MS = 10_000

/** How far an action goes at a pressure: 0 not at all, 1 saturated. */
export function scaleOf(trigger: TriggerConfig, pressure: number): number {
  if (pressure >= trigger.saturation) return 1
  if (pressure <= trigger.scaling) return 0
  return (pressure - trigger.scaling) / (trigger.saturation - trigger.scaling)
}

interface Monitor {
  readonly config: MonitorConfig
  readonly pressurePercent: Gauge
  readonly failedUpdates: Counter
  pressure: number
}

interface Action {
  readonly name: string
  readonly triggers: readonly TriggerConfig[]
  /** null: a load shed point. */
  readonly active: Gauge | null
  readonly scalePercent: Gauge
}

export class OverloadManager {
  private readonly config: OverloadConfig
  private readonly words: Int32Array
  private readonly monitors: readonly Monitor[]
  private readonly actions: readonly Action[]
  private readonly points: readonly Action[]
  private readonly delay: Histogram
  private readonly openConnections: Int32Array
  private readonly timer: NodeJS.Timeout
  private readonly setAccepting: (accepting: boolean) => void
  private accepting = true
  private updating = false
  private dueMs: number
  private shrunkMs = Number.NEGATIVE_INFINITY

  /**
   * `memory`: what the workers read; `openConnections`: their count of downstream connections; `setAccepting` tells them
   * whether to take new ones.
   */
  constructor(
    config: OverloadConfig,
    memory: SharedArrayBuffer,
    openConnections: SharedArrayBuffer,
    stats: Scope,
    setAccepting: (accepting: boolean) => void,
  ) {
    this.config = config
    this.setAccepting = setAccepting
    this.words = new Int32Array(memory)
    this.openConnections = new Int32Array(openConnections)
    const scope = stats.scope('overload')
    this.delay = scope.histogram('refresh_interval_delay', 'ms')
    this.monitors = config.monitors.map((monitor) => ({
      config: monitor,
      pressurePercent: scope.gauge(`${monitor.name}.pressure`),
      failedUpdates: scope.counter(`${monitor.name}.failed_updates`),
      pressure: 0,
    }))
    this.actions = config.actions.map(({ name, triggers }) => ({
      name,
      triggers,
      active: scope.gauge(`${name}.active`),
      scalePercent: scope.gauge(`${name}.scale_percent`),
    }))
    this.points = config.loadShedPoints.map(({ name, triggers }) => ({
      name,
      triggers,
      active: null,
      scalePercent: scope.gauge(`${name}.scale_percent`),
    }))
    for (const { name } of config.loadShedPoints) scope.counter(`${name}.shed_load_count`)
    this.dueMs = performance.now() + config.refreshMs
    this.timer = setInterval(() => void this.refresh(), config.refreshMs)
    this.timer.unref()
  }

  close(): void {
    clearInterval(this.timer)
  }

  /** One round; a round that takes longer than the interval is not overtaken. */
  async refresh(): Promise<void> {
    const nowMs = performance.now()
    this.delay.record(nowMs - this.dueMs)
    this.dueMs = nowMs + this.config.refreshMs
    if (this.updating) return
    this.updating = true
    try {
      for (const monitor of this.monitors) await this.update(monitor)
      for (const action of this.actions) this.apply(action)
      for (const point of this.points) this.apply(point)
    } finally {
      this.updating = false
    }
  }

  private async update(monitor: Monitor): Promise<void> {
    const pressure = await this.pressureOf(monitor.config)
    if (pressure === null) {
      monitor.failedUpdates.inc()
      return
    }
    monitor.pressure = pressure
    monitor.pressurePercent.set(Math.round(pressure * 100))
  }

  /** null: it could not be found out. */
  private async pressureOf(config: MonitorConfig): Promise<number | null> {
    switch (config.kind) {
      case 'fixed_heap': {
        const bytes = residentBytes()
        return bytes === null ? null : bytes / config.maxBytes
      }
      case 'downstream_connections':
        return Atomics.load(this.openConnections, 0) / config.max
      case 'injected': {
        const text = await readFile(config.file, 'utf8').catch(() => '')
        const value = text.trim() === '' ? Number.NaN : Number(text)
        return value >= 0 && value <= 1 ? value : null
      }
    }
  }

  private apply(action: Action): void {
    let scale = 0
    for (const trigger of action.triggers) {
      const monitor = this.monitors.find(({ config }) => config.name === trigger.monitor)!
      scale = Math.max(scale, scaleOf(trigger, monitor.pressure))
    }
    action.active?.set(scale >= 1 ? 1 : 0)
    action.scalePercent.set(Math.round(scale * 100))
    if (action.name === SHRINK_HEAP) this.shrink(scale)
    else if (action.name === STOP_ACCEPTING) this.accept(scale < 1)
    else this.words[OVERLOAD_SLOTS[action.name as keyof typeof OVERLOAD_SLOTS]] = Math.round(scale * SATURATED)
  }

  private accept(accepting: boolean): void {
    if (this.accepting === accepting) return
    this.accepting = accepting
    this.setAccepting(accepting)
  }

  private shrink(scale: number): void {
    const nowMs = performance.now()
    if (scale < 1 || nowMs - this.shrunkMs < SHRINK_INTERVAL_MS) return
    this.shrunkMs = nowMs
    trimMemory()
  }
}
