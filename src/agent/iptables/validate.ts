// Istio's check that capture works (container istio-validation): a connection to a port nobody serves must arrive at the proxy's.
import { randomBytes } from 'node:crypto'
import net from 'node:net'
import type { CaptureConfig } from './config.ts'

/** Exit code of a failed check; pods are restarted by controllers that look for it. */
export const VALIDATION_FAILED_EXIT_CODE = 126

/**
 * Listens where the proxy would, dials 127.0.0.6 at the probe port, and resolves when a capture port receives the very bytes
 * that were sent. Rejects after `timeoutMs`, or when a capture port cannot be bound.
 */
export async function validateCapture(config: CaptureConfig, probePort: number, timeoutMs: number): Promise<void> {
  const token = randomBytes(16).toString('hex')
  const servers: net.Server[] = []
  try {
    const arrived = new Promise<void>((resolve) => {
      for (const port of [config.proxyPort, config.inboundCapturePort]) {
        const server = net.createServer((socket) => {
          socket.on('error', () => socket.destroy())
          socket.on('data', (bytes) => {
            if (bytes.toString() === token) resolve()
            socket.destroy()
          })
        })
        servers.push(server.listen(Number(port), '127.0.0.1'))
      }
    })
    await Promise.all(servers.map(listening))
    await within(timeoutMs, arrived, dial(probePort, token))
  } finally {
    for (const server of servers) server.close()
  }
}

function listening(server: net.Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
  })
}

function dial(probePort: number, token: string): { failed: Promise<never>; end(): void } {
  const socket = net.connect({ host: '127.0.0.6', port: probePort, localAddress: '127.0.0.1' }, () =>
    socket.write(token),
  )
  const failed = new Promise<never>((_, reject) => socket.once('error', reject))
  return { failed, end: () => socket.destroy() }
}

async function within(
  timeoutMs: number,
  arrived: Promise<void>,
  attempt: { failed: Promise<never>; end(): void },
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no redirected connection arrived within ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    await Promise.race([arrived, attempt.failed, late])
  } finally {
    clearTimeout(timer)
    attempt.end()
  }
}
