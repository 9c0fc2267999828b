// /logging.

import { type AdminRequest, type AdminResponse, text } from './response.ts'
import type { AdminSource } from './source.ts'

const LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off']

/** `?level=`, `?<logger>=<level>`, `?paths=a:debug,b:info`; without parameters it only lists. */
export function logging(request: AdminRequest, source: AdminSource): AdminResponse {
  const error = change(request.query, source)
  if (error === null) return text(`${activeLoggers(source)}\n`)
  return text(
    `error: ${error}\n\n` +
      'usage: /logging?<name>=<level> (change single level)\n' +
      'usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n' +
      'usage: /logging?level=<level> (change all levels)\n' +
      `levels: ${LEVELS.join(' ')} \n` +
      activeLoggers(source),
    400,
  )
}

/** What is wrong, or null when every change was made; nothing is changed when anything is wrong. */
function change(query: URLSearchParams, source: AdminSource): string | null {
  if (query.size === 0) return null
  if (query.size > 1) return 'invalid parameter'
  const [name, value] = [...query][0]!
  const changes: [name: string | null, level: string][] = []
  if (name === 'level') changes.push([null, value])
  else if (name === 'paths') {
    for (const pair of value.split(',')) {
      const [logger, level] = pair.split(':')
      if (!logger || level === undefined) return 'invalid logger name:level pairs'
      changes.push([logger, level])
    }
  } else changes.push([name, value])
  const known = source.logLevels()
  for (const [logger, level] of changes) {
    if (logger !== null && !known.has(logger)) return 'unknown logger name'
    if (!LEVELS.includes(level)) return 'unknown logger level'
  }
  for (const [logger, level] of changes) source.setLogLevel(logger, level)
  return null
}

function activeLoggers(source: AdminSource): string {
  let out = 'active loggers:\n'
  for (const [name, level] of source.logLevels()) out += `  ${name}: ${level}\n`
  return out
}
