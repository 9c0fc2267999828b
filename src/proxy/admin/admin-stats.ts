// What the admin listener counts: as Envoy's, which is a listener `admin` with a connection manager `admin`.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { HcmStats } from '../http/connection-manager/stats.ts'
import { Http1Stats } from '../http/h1/stats.ts'
import { type ListenerStats, listenerStatsOf } from '../network/listener-stats.ts'
import type { Scope } from '../observe/stats.ts'

export class AdminStats {
  private readonly http: HcmStats
  private readonly listener: ListenerStats
  private readonly active = new Map<Socket, number>()

  constructor(stats: Scope) {
    const scope = stats.scope('listener.admin')
    // Of the codec that whoever asks for statistics speaks with.
    new Http1Stats(stats)
    this.http = new HcmStats(stats.scope('http.admin'), scope.scope('http.admin'))
    this.listener = listenerStatsOf(scope, scope.scope('main_thread'))
  }

  /** Counts what the server accepts from now on. */
  watch(server: Server): void {
    server.on('connection', (socket) => this.onConnection(socket))
    server.on('request', (request, response) => this.onRequest(request, response))
    server.on('clientError', () => this.http.cxProtocolError.inc())
  }

  private onConnection(socket: Socket): void {
    const { http, listener } = this
    const startedMs = performance.now()
    for (const counter of [http.cxTotal, http.cxHttp1Total, listener.cxTotal, listener.workerTotal]) counter.inc()
    const gauges = [http.cxActive, http.cxHttp1Active, listener.cxActive, listener.workerActive]
    for (const gauge of gauges) gauge.inc()
    let remote = false
    socket.once('end', () => {
      remote = true
    })
    socket.once('close', () => {
      const requests = this.active.get(socket) ?? 0
      this.active.delete(socket)
      for (const gauge of gauges) gauge.dec()
      http.cxDestroy.inc()
      listener.cxDestroy.inc()
      ;(remote ? http.cxDestroyRemote : http.cxDestroyLocal).inc()
      if (requests > 0) {
        http.cxDestroyActiveRq.inc()
        ;(remote ? http.cxDestroyRemoteActiveRq : http.cxDestroyLocalActiveRq).inc()
      }
      http.cxRxBytes.add(socket.bytesRead)
      http.cxTxBytes.add(socket.bytesWritten)
      const lengthMs = performance.now() - startedMs
      http.cxLengthMs.record(lengthMs)
      listener.cxLength.record(lengthMs)
    })
  }

  private onRequest({ socket }: IncomingMessage, response: ServerResponse): void {
    const { http, active } = this
    const startedMs = performance.now()
    http.rqTotal.inc()
    http.rqHttp1Total.inc()
    http.rqActive.inc()
    active.set(socket, (active.get(socket) ?? 0) + 1)
    response.once('close', () => {
      active.set(socket, (active.get(socket) ?? 1) - 1)
      http.rqActive.dec()
      http.rqTime.record(performance.now() - startedMs)
      if (response.writableFinished) http.countStatus(response.statusCode)
      else http.rqRxReset.inc()
    })
  }
}
