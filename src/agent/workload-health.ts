// ProxyConfig.readinessProbe: how the agent beside a workload outside Kubernetes, where no kubelet looks, finds out
// whether it is well.
import { execFile } from 'node:child_process'
import { ConfigError, errorText } from '../base/errors.ts'
import { type AppProbe, parseProbe, runProbe } from './app-probes.ts'
import type { HealthProblem } from './health-reports.ts'

export interface ReadinessProbe {
  readonly initialDelayMs: number
  readonly periodMs: number
  readonly successThreshold: number
  readonly failureThreshold: number
  readonly check: AppProbe | { readonly timeoutMs: number; readonly exec: readonly [string, ...string[]] }
}

/** Istio's defaults, in the units of the API. */
const DEFAULTS = { initialDelaySeconds: 0, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 } as const

/** Reads `readinessProbe`; null for none. Throws ConfigError naming the field. */
export function parseReadinessProbe(value: unknown): ReadinessProbe | null {
  if (value === undefined || value === null) return null
  const probe = value as Record<string, unknown>
  const number = (field: keyof typeof DEFAULTS): number => {
    const given = probe[field] === undefined || probe[field] === 0 ? DEFAULTS[field] : Number(probe[field])
    if (!Number.isInteger(given) || given < 0)
      throw new ConfigError(`readinessProbe.${field}`, `must be a whole number, is ${JSON.stringify(probe[field])}`)
    return given
  }
  const { exec } = probe as { exec?: { command?: unknown } }
  return {
    initialDelayMs: number('initialDelaySeconds') * 1000,
    periodMs: number('periodSeconds') * 1000,
    successThreshold: number('successThreshold'),
    failureThreshold: number('failureThreshold'),
    check: exec
      ? { timeoutMs: Number(probe.timeoutSeconds || 1) * 1000, exec: commandOf(exec.command) }
      : parseProbe('readinessProbe', probe),
  }
}

function commandOf(command: unknown): readonly [string, ...string[]] {
  if (Array.isArray(command) && command.length > 0 && command.every((word) => typeof word === 'string'))
    return command as [string, ...string[]]
  throw new ConfigError('readinessProbe.exec.command', 'must be a list of at least one string')
}

/** Probes again and again until stopped; `changed` is told of the first verdict and of every other one. */
export class WorkloadHealth {
  private readonly probe: ReadinessProbe
  private readonly address: string
  private readonly changed: (problem: HealthProblem) => void
  private timer: NodeJS.Timeout
  private stopped = false
  private successes = 0
  private failures = 0
  private well: boolean | null = null

  constructor(probe: ReadinessProbe, address: string, changed: (problem: HealthProblem) => void) {
    this.probe = probe
    this.address = address
    this.changed = changed
    this.timer = setTimeout(() => void this.look(), probe.initialDelayMs)
    this.timer.unref()
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.timer)
  }

  private async look(): Promise<void> {
    const problem = await problemOf(this.probe.check, this.address)
    if (this.stopped) return
    this.judge(problem)
    this.timer = setTimeout(() => void this.look(), this.probe.periodMs)
    this.timer.unref()
  }

  private judge(problem: HealthProblem): void {
    if (problem === null) {
      this.failures = 0
      if (++this.successes < this.probe.successThreshold || this.well === true) return
      this.well = true
    } else {
      this.successes = 0
      if (++this.failures < this.probe.failureThreshold || this.well === false) return
      this.well = false
    }
    this.changed(problem)
  }
}

/** Null: well. Never rejects. */
async function problemOf(check: ReadinessProbe['check'], address: string): Promise<HealthProblem> {
  if ('exec' in check) return execProblem(check.exec, check.timeoutMs)
  const { status, text } = await runProbe(check, address, {})
  return status >= 200 && status < 400 ? null : text || `the probe was answered with status ${status}`
}

function execProblem([program, ...args]: readonly [string, ...string[]], timeoutMs: number): Promise<HealthProblem> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: timeoutMs }, (error) => resolve(error === null ? null : errorText(error)))
  })
}
