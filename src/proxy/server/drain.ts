// /drain_listeners (envoy-contract §20): listeners of the whole server or of the inbound side stop.

import { errorText } from '../../base/errors.ts'
import type { WorkerUpdate } from './messages.ts'
import type { ServerContext } from './start-proxy.ts'

/**
 * Plain: listeners stop accepting at once. `graceful`: connections are asked to end first, listeners stop after the
 * drain time, or never with `skipExit`.
 */
export function drainListeners(
  context: ServerContext,
  options: { graceful: boolean; inboundOnly: boolean; skipExit: boolean },
): void {
  const { inboundOnly } = options
  if (!options.graceful) {
    apply(context, { kind: 'stop-listeners', inboundOnly })
    return
  }
  context.state = 'DRAINING'
  apply(context, { kind: 'start-drain', inboundOnly })
  if (options.skipExit) return
  const timer = setTimeout(
    () => apply(context, { kind: 'stop-listeners', inboundOnly }),
    context.options.drainTimeS * 1000,
  )
  timer.unref()
}

function apply(context: ServerContext, update: WorkerUpdate): void {
  context.workers.apply(update).catch((error: unknown) => {
    context.options.log.error({ reason: errorText(error) }, `${update.kind} failed`)
  })
}
