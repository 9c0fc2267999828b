// What is wrong with resources and settings, in the log and on /debug/push_status.
import type { JsonValue } from '@bufbuild/protobuf'
import type { Problem } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { objectKey, type StoreEvent } from '../cluster/index.ts'
import type { ReportProblems } from './commit.ts'
import type { Remark } from './model/remarks.ts'
import type { PilotMetrics } from './push/metrics.ts'

/** What is wrong with resources: logged once when it appears, shown on /debug/push_status while it lasts. */
export class ProblemLog {
  private readonly log: Logger
  private readonly metrics: PilotMetrics
  private readonly standing = new Map<string, { message: string; level: string }>()

  constructor(log: Logger, metrics: PilotMetrics) {
    this.log = log
    this.metrics = metrics
  }

  readonly report: ReportProblems = (object, problems) => {
    const name = `${object.kind} ${objectKey(object.metadata)}`
    for (const { path, message, hint, level } of problems) {
      const line = `${name}: ${path ? `${path} ` : ''}${message}${hint ? ` (${hint})` : ''}`
      this.standing.set(`${name} ${path}`, { message: line, level })
      if (level === 'error') {
        this.metrics.rejectedConfigs.inc({ kind: object.kind })
        this.log.error(`${line}; its last good version stays`)
      } else this.log.warn(line)
    }
  }

  /** What is to be said of a place that settings of the mesh come from, instead of what was said before. */
  readonly reportSettings = (source: string, problems: readonly Problem[]): void => {
    const before = new Map(this.standing)
    const prefix = `${source} `
    for (const key of before.keys()) if (key.startsWith(prefix)) this.standing.delete(key)
    for (const { path, message, hint, level } of problems) {
      const line = `${source}: ${path ? `${path} ` : ''}${message}${hint ? ` (${hint})` : ''}`
      const key = `${prefix}${path}`
      this.standing.set(key, { message: line, level })
      if (before.get(key)?.message === line) continue
      if (level === 'error') this.log.error(`${line}; the last good settings stay`)
      else this.log.warn(line)
    }
  }

  /** A changed object is judged anew. */
  forget(events: readonly StoreEvent[]): void {
    if (this.standing.size === 0) return
    for (const { object } of events) {
      const prefix = `${object.kind} ${objectKey(object.metadata)} `
      for (const key of this.standing.keys()) if (key.startsWith(prefix)) this.standing.delete(key)
    }
  }

  json(remarks: Iterable<Remark & { readonly proxy: string }>): JsonValue {
    const out: { [metric: string]: { [key: string]: JsonValue } } = {}
    for (const [key, { message, level }] of this.standing) {
      const metric = level === 'error' ? 'pilot_total_rejected_configs' : 'pilot_config_warnings'
      out[metric] ??= {}
      out[metric]![key] = { proxy: '', message }
    }
    for (const { metric, key, proxy, message } of remarks) {
      out[metric] ??= {}
      out[metric]![key] = { proxy, message }
    }
    return out
  }
}
