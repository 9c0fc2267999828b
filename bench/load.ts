// Load from wrk and h2load on one core, against nginx as the upstream on the same one.

import { execFile, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { isGrpc, type Shape } from './shapes.ts'

const run = promisify(execFile)

export interface LoadResult {
  readonly requests: number
  readonly p99Ms: number
  /** What went wrong, else ''. */
  readonly errors: string
}

export interface LoadOptions {
  readonly core: number
  readonly connections: number
  readonly seconds: number
  readonly path: string
}

/** One message of 100 bytes. */
const GRPC_REQUEST = Buffer.alloc(105)
GRPC_REQUEST.writeUInt32BE(100, 1)

/** h2load prints no percentiles: its p99 is NaN. */
export async function load(shape: Shape, port: number, options: LoadOptions): Promise<LoadResult> {
  const scheme = shape === 'tls' || shape === 'mtls' ? 'https' : 'http'
  const path = { 'grpc-unary': '/bench.Bench/Unary', 'grpc-stream': '/bench.Bench/ServerStream' }[shape as string]
  const url = `${scheme}://127.0.0.1:${port}${path ?? options.path}`
  const pinned = ['-c', String(options.core)]
  if (shape === 'h2' || isGrpc(shape)) {
    const args = [
      '-t1',
      `-c${options.connections}`,
      '-m10',
      `-D${options.seconds}`,
      ...(await grpcArguments(shape)),
      url,
    ]
    const { stdout } = await run('taskset', [...pinned, 'h2load', ...args])
    const failed = Number(/(\d+) failed/.exec(stdout)?.[1] ?? 0)
    return {
      requests: Number(/requests: (\d+) total/.exec(stdout)?.[1]),
      p99Ms: Number.NaN,
      errors: failed > 0 ? `${failed} failed` : '',
    }
  }
  const args = ['-t1', `-c${options.connections}`, `-d${options.seconds}s`, '--latency', url]
  const { stdout } = await run('taskset', [...pinned, 'wrk', ...args])
  const p99 = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout)
  const unit = { us: 0.001, ms: 1, s: 1000 }[p99?.[2] ?? 'ms']!
  return {
    requests: Number(/(\d+) requests in/.exec(stdout)?.[1]),
    p99Ms: Number(p99?.[1]) * unit,
    errors: /(Non-2xx.*|Socket errors.*)/.exec(stdout)?.[1] ?? '',
  }
}

async function grpcArguments(shape: Shape): Promise<string[]> {
  if (!isGrpc(shape)) return []
  const file = join(tmpdir(), `grpc-request-${process.pid}`)
  await writeFile(file, GRPC_REQUEST)
  return ['-d', file, '-H', 'content-type: application/grpc', '-H', 'te: trailers']
}

/** bench/grpc-upstream.ts on its ports. Stops with `stop`. */
export function startGrpcUpstream(ports: { unary: number; stream: number }, core: number): { stop(): void } {
  const file = join(import.meta.dirname, 'grpc-upstream.ts')
  const child = spawn(
    'taskset',
    ['-c', String(core), process.execPath, file, String(ports.unary), String(ports.stream)],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  )
  let stopped = false
  // Without it the proxies would answer by themselves, with a status that h2load does not see.
  child.once('exit', (code) => {
    if (stopped) return
    console.error(`the gRPC upstream ended with code ${code}`)
    process.exit(1)
  })
  return {
    stop() {
      stopped = true
      child.kill()
    },
  }
}

/** nginx with a body of 1 KiB at / and one of 10 MB at /large: HTTP/1, HTTP/2 and mutual TLS. Stops with `stop`. */
export function startUpstream(
  dir: string,
  ports: { upstream: number; upstreamH2: number; upstreamMtls: number },
  core: number,
): { stop(): void } {
  writeFileSync(join(dir, 'body'), 'x'.repeat(1024))
  writeFileSync(join(dir, 'large'), Buffer.alloc(10_000_000, 'x'))
  const locations = `default_type text/plain; location / { root ${dir}; try_files /body =404; } location = /large { root ${dir}; }`
  const config = join(dir, 'nginx.conf')
  writeFileSync(
    config,
    `worker_processes 1; user root; daemon off; pid ${dir}/nginx.pid; error_log ${dir}/nginx.err; worker_rlimit_nofile 65535;
events { worker_connections 16384; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 3600s; http2_max_requests 100000000;
 server { listen 127.0.0.1:${ports.upstream} backlog=4096; ${locations} }
 server { listen 127.0.0.1:${ports.upstreamH2} http2 backlog=4096; ${locations} }
 server { listen 127.0.0.1:${ports.upstreamMtls} ssl backlog=4096; ssl_certificate ${dir}/cert.pem;
  ssl_certificate_key ${dir}/key.pem; ssl_client_certificate ${dir}/cert.pem; ssl_verify_client on; ${locations} } }
`,
  )
  const child = spawn('taskset', ['-c', String(core), 'nginx', '-c', config], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return { stop: () => void child.kill() }
}
