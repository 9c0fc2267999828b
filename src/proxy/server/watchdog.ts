// Stalls of a thread's event loop (bootstrap.watchdogs). A thread measures itself, so a stall counts when it is over: there
// is no thread beside it that could end the process meanwhile, and what asks for that is refused.

import {
  type Bootstrap,
  type Watchdog as WatchdogMessage,
  WatchdogSchema,
  WatchdogsSchema,
} from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { durationMsOr } from '../config/duration.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import type { Counter, Scope } from '../observe/stats.ts'

export interface WatchdogData {
  /** A stall longer than this counts as a miss. */
  readonly missMs: number
  /** And longer than this as a mega miss. */
  readonly megaMissMs: number
}

export interface WatchdogsData {
  readonly main: WatchdogData
  readonly worker: WatchdogData
}

/** Envoy's defaults. */
const MISS_MS = 200
const MEGA_MISS_MS = 1000

/** Throws ConfigError for what would end a stalled process. */
export function parseWatchdogs({ watchdog, watchdogs }: Bootstrap): WatchdogsData {
  if (watchdog && watchdogs) throw new ConfigError('watchdogs', 'Only one of watchdog or watchdogs should be set!')
  if (watchdogs)
    refuseUnsupported(WatchdogsSchema, watchdogs, new Set(['main_thread_watchdog', 'worker_watchdog']), 'watchdogs')
  return {
    main: parse(
      watchdogs ? watchdogs.mainThreadWatchdog : watchdog,
      watchdogs ? 'watchdogs.main_thread_watchdog' : 'watchdog',
    ),
    worker: parse(
      watchdogs ? watchdogs.workerWatchdog : watchdog,
      watchdogs ? 'watchdogs.worker_watchdog' : 'watchdog',
    ),
  }
}

function parse(message: WatchdogMessage | undefined, path: string): WatchdogData {
  if (message) refuseUnsupported(WatchdogSchema, message, new Set(['miss_timeout', 'megamiss_timeout']), path)
  return {
    missMs: durationMsOr(message?.missTimeout, MISS_MS),
    megaMissMs: durationMsOr(message?.megamissTimeout, MEGA_MISS_MS),
  }
}

export class Watchdog {
  private readonly data: WatchdogData
  private readonly misses: readonly Counter[]
  private readonly megaMisses: readonly Counter[]
  private readonly timer: NodeJS.Timeout
  private touchedMs = performance.now()

  /** `thread`: `server.<thread>`; `kind`: `main_thread` or `workers`, which count too. */
  constructor(data: WatchdogData, stats: Scope, thread: string, kind: string) {
    const scopes = [stats.scope(`server.${thread}`), stats.scope(kind)]
    this.data = data
    this.misses = scopes.map((scope) => scope.counter('watchdog_miss'))
    this.megaMisses = scopes.map((scope) => scope.counter('watchdog_mega_miss'))
    const intervalMs = Math.max(1, Math.min(data.missMs, data.megaMissMs) / 2)
    this.timer = setInterval(() => this.touch(), intervalMs)
    this.timer.unref()
  }

  close(): void {
    clearInterval(this.timer)
  }

  private touch(): void {
    const now = performance.now()
    const silentMs = now - this.touchedMs
    this.touchedMs = now
    if (silentMs > this.data.missMs) for (const counter of this.misses) counter.inc()
    if (silentMs > this.data.megaMissMs) for (const counter of this.megaMisses) counter.inc()
  }
}
