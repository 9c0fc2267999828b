import { setTimeout as sleep } from 'node:timers/promises'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { localRequest } from './local-http.ts'
import { parseStats } from './readiness.ts'

const POLL_MS = 1000
/** Listeners of the proxy's own that probes and scrapes keep open. */
const OWN_LISTENERS = /^(listener\.admin\.|listener\.0\.0\.0\.0_150(21|90)\.|http\.(admin|agent|stats)[.;])/

/** Connections that clients still hold, from `downstream_cx_active` gauges; the proxy's own listeners do not count. */
export function activeConnections(stats: ReadonlyMap<string, number>): number {
  let active = 0
  for (const [name, value] of stats) {
    if (
      name.startsWith('listener.') &&
      name.endsWith('.downstream_cx_active') &&
      !name.includes('.worker_') &&
      !OWN_LISTENERS.test(name)
    )
      active += value
  }
  return active
}

/** Polls until no connection is left or the proxy is gone; the pod's grace period bounds it from outside. */
export async function waitForZeroConnections(adminPort: number, log: Logger): Promise<void> {
  for (;;) {
    try {
      const stats = await localRequest(adminPort, '/stats?usedonly&filter=downstream_cx_active$')
      const active = activeConnections(parseStats(stats.body))
      if (active === 0) return
      log.info({ active }, 'waiting for connections to end')
    } catch (error) {
      log.info({ reason: errorText(error) }, 'the proxy does not answer any more')
      return
    }
    await sleep(POLL_MS)
  }
}
