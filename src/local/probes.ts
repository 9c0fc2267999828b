import * as http from 'node:http'
import * as https from 'node:https'
import * as net from 'node:net'
import { errorText } from '../base/errors.ts'
import type { Container, Probe } from './pod-types.ts'

export type ProbeResult = { readonly ok: true } | { readonly ok: false; readonly message: string }

/** What a probe is run against. */
export interface ProbeTarget {
  readonly podIp: string
  readonly container: Container
  /** Runs a command inside the container; rejects when it fails or takes too long. */
  exec(command: readonly string[], timeoutMs: number): Promise<void>
}

/** Runs a probe once, with kubelet's rules: HTTP 200–399 is success, redirects are not followed. */
export async function runProbe(probe: Probe, target: ProbeTarget): Promise<ProbeResult> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000
  try {
    if (probe.httpGet) return await httpProbe(probe.httpGet, target, timeoutMs)
    if (probe.tcpSocket) {
      await connect(probe.tcpSocket.host ?? target.podIp, portNumber(probe.tcpSocket.port, target.container), timeoutMs)
    } else if (probe.exec) await target.exec(probe.exec.command, timeoutMs)
    else return { ok: false, message: 'only httpGet, tcpSocket and exec probes are offered here' }
    return { ok: true }
  } catch (error) {
    return { ok: false, message: errorText(error) }
  }
}

/** A probe's port: a number, or the name of one of the container's ports. */
function portNumber(port: number | string, container: Container): number {
  if (typeof port === 'number') return port
  if (/^\d+$/.test(port)) return Number(port)
  const named = container.ports?.find((p) => p.name === port)
  if (!named) throw new Error(`container ${container.name} has no port named ${port}`)
  return named.containerPort
}

function httpProbe(get: NonNullable<Probe['httpGet']>, target: ProbeTarget, timeoutMs: number): Promise<ProbeResult> {
  const port = portNumber(get.port, target.container)
  const secure = get.scheme?.toUpperCase() === 'HTTPS'
  const headers: Record<string, string> = { 'user-agent': 'kube-probe/1.33', accept: '*/*', connection: 'close' }
  for (const { name, value } of get.httpHeaders ?? []) headers[name.toLowerCase()] = value
  return new Promise((resolve) => {
    const options = { host: get.host ?? target.podIp, port, path: get.path ?? '/', headers, agent: false as const }
    const onResponse = (response: http.IncomingMessage) => {
      response.resume()
      const status = response.statusCode ?? 0
      const good = status >= 200 && status < 400
      resolve(good ? { ok: true } : { ok: false, message: `HTTP probe failed with statuscode: ${status}` })
    }
    const request = secure
      ? https.get({ ...options, rejectUnauthorized: false }, onResponse) // kubelet verifies no certificate
      : http.get(options, onResponse)
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeoutMs / 1000}s`)), timeoutMs)
    request.on('error', (error) => resolve({ ok: false, message: error.message }))
    request.on('close', () => clearTimeout(timer))
  })
}

function connect(host: string, port: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port })
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no connection within ${timeoutMs / 1000}s`)))
    socket.on('error', reject)
    socket.on('connect', () => {
      socket.destroy()
      resolve()
    })
  })
}
