import type { Probe } from './pod-types.ts'
import { type ProbeResult, type ProbeTarget, runProbe } from './probes.ts'

/**
 * Repeats one probe and reports when its verdict changes: `true` after successThreshold successes in a row, `false`
 * after failureThreshold failures (kubelet's defaults: every 10 s, 1 success, 3 failures).
 */
export class ProbeLoop {
  private readonly probe: Probe
  private readonly target: ProbeTarget
  private readonly onVerdict: (success: boolean, message: string) => void
  private timer: NodeJS.Timeout | undefined
  private verdict: boolean | undefined
  private streak = 0
  private lastOk = false
  private stopped = false

  constructor(probe: Probe, target: ProbeTarget, onVerdict: (success: boolean, message: string) => void) {
    this.probe = probe
    this.target = target
    this.onVerdict = onVerdict
    // A first look soon after the start, when the probe does not ask for patience: readiness is what `up` waits for.
    this.timer = setTimeout(() => void this.tick(), (probe.initialDelaySeconds ?? 0) * 1000 || FIRST_LOOK_MS)
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.timer)
  }

  private async tick(): Promise<void> {
    const result = await runProbe(this.probe, this.target)
    if (this.stopped) return
    this.judge(result)
    if (this.stopped) return
    const periodMs = (this.probe.periodSeconds ?? 10) * 1000
    // Until the first success the probe is repeated faster than its period: nobody waits longer than needed at start.
    const waitMs = this.verdict === true ? periodMs : Math.min(periodMs, UNREADY_PERIOD_MS)
    this.timer = setTimeout(() => void this.tick(), waitMs)
  }

  private judge(result: ProbeResult): void {
    this.streak = result.ok === this.lastOk ? this.streak + 1 : 1
    this.lastOk = result.ok
    const threshold = result.ok ? (this.probe.successThreshold ?? 1) : this.failuresAllowed()
    if (this.streak < threshold || this.verdict === result.ok) return
    this.verdict = result.ok
    this.onVerdict(result.ok, result.ok ? '' : result.message)
  }

  /** The threshold counts periods; while looking more often it stands for the same stretch of time. */
  private failuresAllowed(): number {
    const threshold = this.probe.failureThreshold ?? 3
    if (this.verdict === true) return threshold
    const periodMs = (this.probe.periodSeconds ?? 10) * 1000
    return Math.ceil((threshold * periodMs) / Math.min(periodMs, UNREADY_PERIOD_MS))
  }
}

const FIRST_LOOK_MS = 200
const UNREADY_PERIOD_MS = 500
