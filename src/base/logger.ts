import { type Logger, pino } from 'pino'
import { UserError } from './errors.ts'

export type { Logger }

/** Envoy's level words and pino's, both accepted by `--log-level` and the admin's `/logging`. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'warn', 'error', 'critical', 'off'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const PINO_LEVEL: Record<LogLevel, string> = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warning: 'warn',
  warn: 'warn',
  error: 'error',
  critical: 'fatal',
  off: 'silent',
}

export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text)
}

export function pinoLevel(level: LogLevel): string {
  return PINO_LEVEL[level]
}

/** A JSON-lines logger on stderr (stdout belongs to access logs and to command output), or appending to `file`. */
export function createLogger(name: string, level: LogLevel = 'info', file?: string): Logger {
  return pino({ name, level: pinoLevel(level) }, pino.destination({ dest: file ?? 2, sync: true }))
}

/**
 * The level of scope `default` in Istio's `--log_output_level` (`default:info,ads:debug` or just `info`); other scopes name
 * Istio's own packages. Throws UserError for anything else.
 */
export function scopedLevel(scopes: string): LogLevel {
  const words = scopes.split(',').map((scope) => scope.split(':'))
  const level = words
    .filter(([name, word]) => word === undefined || name === 'default')
    .map(([name, word]) => word ?? name)
  const last = level.at(-1) ?? 'info'
  if (isLogLevel(last)) return last
  throw new UserError(`--log_output_level: "${last}" is not one of ${LOG_LEVELS.join(', ')}`, 64)
}
