// Probes of the application, asked from inside the pod where mTLS does not apply (istio-contract 13.4).
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { ConfigError, errorText } from '../base/errors.ts'
import { http } from '../base/node-http.ts'

export interface AppProbe {
  readonly timeoutMs: number
  readonly httpGet?: {
    readonly port: number
    readonly path: string
    readonly host?: string
    readonly scheme: 'HTTP' | 'HTTPS'
    readonly headers: readonly (readonly [string, string])[]
  }
  readonly tcpSocket?: { readonly port: number; readonly host?: string }
  readonly grpc?: { readonly port: number; readonly service: string }
}

/** Where probe connections come from: the capture rules let this address pass to the application. */
const PROBE_SOURCE = '127.0.0.6'

/** Reads ISTIO_KUBE_APP_PROBERS: request path to Kubernetes probe. Throws ConfigError naming the path. */
export function parseAppProbes(value: unknown): Map<string, AppProbe> {
  const probes = new Map<string, AppProbe>()
  for (const [path, probe] of Object.entries((value ?? {}) as Record<string, Record<string, unknown>>)) {
    if (!/^\/app-(health|lifecycle)\/[^/]+\/(livez|readyz|startupz|prestopz|poststartz)$/.test(path)) {
      throw new ConfigError(
        `ISTIO_KUBE_APP_PROBERS ${path}`,
        'is not a path of the form /app-health/<container>/readyz',
      )
    }
    probes.set(path, parseProbe(`ISTIO_KUBE_APP_PROBERS ${path}`, probe))
  }
  return probes
}

/** Reads a probe as Kubernetes writes it. Throws ConfigError that starts with `where`. */
export function parseProbe(where: string, probe: Record<string, unknown>): AppProbe {
  const timeoutMs = Number(probe.timeoutSeconds ?? 1) * 1000
  const { httpGet, tcpSocket, grpc } = probe as Record<string, Record<string, unknown> | undefined>
  if (httpGet !== undefined) {
    const headers = ((httpGet.httpHeaders ?? []) as { name: string; value: string }[]).map(
      ({ name, value }) => [name, value] as const,
    )
    const scheme = httpGet.scheme === 'HTTPS' ? 'HTTPS' : 'HTTP'
    const target = String(httpGet.path ?? '/')
    return {
      timeoutMs,
      httpGet: {
        port: portOf(where, httpGet.port),
        path: target.startsWith('/') ? target : `/${target}`,
        host: httpGet.host as string | undefined,
        scheme,
        headers,
      },
    }
  }
  if (tcpSocket !== undefined)
    return { timeoutMs, tcpSocket: { port: portOf(where, tcpSocket.port), host: tcpSocket.host as string | undefined } }
  if (grpc !== undefined)
    return { timeoutMs, grpc: { port: portOf(where, grpc.port), service: String(grpc.service ?? '') } }
  throw new ConfigError(where, 'has none of httpGet, tcpSocket, grpc')
}

function portOf(where: string, value: unknown): number {
  const port = Number(value)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new ConfigError(where, `port ${JSON.stringify(value)} is not a port number`)
  return port
}

/** Outcome of a probe, as an HTTP status for the kubelet. */
export interface ProbeAnswer {
  readonly status: number
  readonly text: string
}

/** Runs a probe against the pod's address. Never rejects: a failed probe is an answer. `headers`: the kubelet's own. */
export async function runProbe(probe: AppProbe, podIp: string, headers: IncomingHttpHeaders): Promise<ProbeAnswer> {
  try {
    if (probe.httpGet !== undefined) return await httpProbe(probe.httpGet, probe.timeoutMs, podIp, headers)
    if (probe.tcpSocket !== undefined) return await tcpProbe(probe.tcpSocket, probe.timeoutMs, podIp)
    return await grpcProbe(probe.grpc!, probe.timeoutMs, podIp)
  } catch (error) {
    return { status: 500, text: errorText(error) }
  }
}

function httpProbe(
  get: NonNullable<AppProbe['httpGet']>,
  timeoutMs: number,
  podIp: string,
  incoming: IncomingHttpHeaders,
): Promise<ProbeAnswer> {
  const { host: _own, connection: _hop, ...kept } = incoming
  const headers: OutgoingHttpHeaders = { ...kept, host: get.host ?? `${podIp}:${get.port}`, connection: 'close' }
  for (const [name, value] of get.headers) headers[name.toLowerCase()] = value
  const options: https.RequestOptions = {
    host: podIp,
    port: get.port,
    path: get.path,
    headers,
    localAddress: PROBE_SOURCE,
    timeout: timeoutMs,
    // As the kubelet: a probe checks life, not certificates.
    rejectUnauthorized: false,
    agent: false,
  }
  return new Promise((resolve, reject) => {
    const request = (get.scheme === 'HTTPS' ? https : http).get(options, (response) => {
      response.resume()
      // Redirects within the probe's success range count as alive; following them to other hosts is not our business.
      resolve({ status: response.statusCode ?? 500, text: '' })
    })
    request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    request.on('error', reject)
  })
}

function tcpProbe(target: NonNullable<AppProbe['tcpSocket']>, timeoutMs: number, podIp: string): Promise<ProbeAnswer> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({
      host: target.host ?? podIp,
      port: target.port,
      localAddress: PROBE_SOURCE,
      timeout: timeoutMs,
    })
    socket.on('connect', () => {
      socket.destroy()
      resolve({ status: 200, text: '' })
    })
    socket.on('timeout', () => socket.destroy(new Error(`no connection within ${timeoutMs} ms`)))
    socket.on('error', reject)
  })
}

/** grpc.health.v1.Health/Check: request {service = 1}, response {status = 1}; 1 means SERVING. */
async function grpcProbe(
  target: NonNullable<AppProbe['grpc']>,
  timeoutMs: number,
  podIp: string,
): Promise<ProbeAnswer> {
  const client = new Client(`${podIp}:${target.port}`, credentials.createInsecure(), { 'grpc.enable_http_proxy': 0 })
  const request = Buffer.from(new BinaryWriter().tag(1, WireType.LengthDelimited).string(target.service).finish())
  try {
    const response = await new Promise<Buffer>((resolve, reject) => {
      const same = (bytes: Buffer) => bytes
      const deadline = Date.now() + timeoutMs
      client.makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        same,
        same,
        request,
        new Metadata(),
        { deadline },
        (error, value) => (error ? reject(error) : resolve(value!)),
      )
    })
    const serving = response.length === 2 && response[0] === 0x08 && response[1] === 1
    return serving ? { status: 200, text: '' } : { status: 500, text: 'the gRPC service is not SERVING' }
  } finally {
    client.close()
  }
}
