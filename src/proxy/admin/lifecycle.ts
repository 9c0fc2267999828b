// What changes the server: drain, quit, health check failure, log rotation.

import { type AdminRequest, type AdminResponse, OK } from './response.ts'
import type { AdminSource } from './source.ts'

/** `?graceful`, `?inboundonly`, `?skip_exit`. */
export function drainListeners(request: AdminRequest, source: AdminSource): AdminResponse {
  const { query } = request
  source.drainListeners({
    graceful: query.has('graceful'),
    inboundOnly: query.has('inboundonly'),
    skipExit: query.has('skip_exit'),
  })
  return OK
}

export function quitQuitQuit(_request: AdminRequest, source: AdminSource): AdminResponse {
  source.quit()
  return OK
}

export function healthCheckFail(_request: AdminRequest, source: AdminSource): AdminResponse {
  source.setHealthCheckFailing(true)
  return OK
}

export function healthCheckOk(_request: AdminRequest, source: AdminSource): AdminResponse {
  source.setHealthCheckFailing(false)
  return OK
}

export function reopenLogs(_request: AdminRequest, source: AdminSource): AdminResponse {
  source.reopenLogs()
  return OK
}
