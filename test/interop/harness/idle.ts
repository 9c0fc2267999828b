// Whether a proxy has done all that it can do by now: silence alone may only mean that the machine is busy.

import type { Server, Socket } from 'node:net'
import type { RunningProxy } from './proxies.ts'

const connections = new WeakMap<Server, Socket[]>()

/** Notes the connections that an upstream gets, from now on. */
export function watchConnections(server: Server): void {
  const sockets: Socket[] = []
  connections.set(server, sockets)
  server.on('connection', (socket) => sockets.push(socket))
}

/**
 * By its counters real Envoy has read all that the client of situation `i` has sent and all that `upstream` has answered,
 * and the client has all of its output. `upstream` has served nobody else so far; where the hosts are elsewhere, no request is
 * open instead.
 */
export async function isIdle(
  envoy: RunningProxy,
  i: number,
  { sent, received }: { readonly sent: number; readonly received: number },
  upstream: Server | 'elsewhere' | null,
): Promise<boolean> {
  const stats = await envoy.admin(
    `/stats?filter=${encodeURIComponent(`^(http[.]s${i}[.]downstream_(cx|rq)|cluster[.]c${i}[.]upstream_cx)_`)}`,
  )
  const equals = (name: string, value: number): boolean => {
    const shown = new RegExp(`^${name}: (\\d+)$`, 'm').exec(stats)
    // A situation may have other names or protocols.
    return shown === null || Number(shown[1]) === value
  }
  if (!equals(`http\\.s${i}\\.downstream_cx_rx_bytes_total`, sent)) return false
  if (!equals(`http\\.s${i}\\.downstream_cx_tx_bytes_total`, received)) return false
  if (upstream === 'elsewhere') return equals(`http\\.s${i}\\.downstream_rq_active`, 0)
  const sockets = upstream ? connections.get(upstream) : undefined
  if (sockets === undefined) return true
  const sum = (count: (socket: Socket) => number): number => sockets.reduce((all, socket) => all + count(socket), 0)
  const cluster = `cluster\\.c${i}\\.upstream_cx`
  return (
    equals(
      `${cluster}_active`,
      sum((socket) => Number(!socket.destroyed && !socket.writableEnded)),
    ) &&
    equals(
      `${cluster}_rx_bytes_total`,
      sum((socket) => socket.bytesWritten),
    ) &&
    equals(
      `${cluster}_tx_bytes_total`,
      sum((socket) => socket.bytesRead),
    )
  )
}
