import { UserError } from '../base/errors.ts'
import type { LocalClient, MeshStatus } from '../local/index.ts'

const POLL_MS = 200

/** Shows each pod as it becomes ready; resolves when all are. Throws UserError with the reasons after `timeoutMs`. */
export async function waitUntilReady(client: LocalClient, timeoutMs: number): Promise<void> {
  const started = Date.now()
  const shown = new Set<string>()
  for (;;) {
    const status = await client.call('status', {})
    const seconds = ((Date.now() - started) / 1000).toFixed(1)
    for (const pod of status.pods) {
      if (pod.ready < pod.total || shown.has(pod.name)) continue
      shown.add(pod.name)
      clearLiveLine()
      console.log(`${seconds.padStart(5)}s  ${pod.namespace}/${pod.name}  ${pod.ready}/${pod.total}`)
    }
    if (isReady(status)) break
    if (Date.now() - started > timeoutMs) {
      clearLiveLine()
      throw new UserError(`not ready after ${timeoutMs / 1000} s: ${waitingFor(status)}`)
    }
    liveLine(`${seconds.padStart(5)}s  ${readyCount(status)} pods ready; waiting for ${waitingFor(status)}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  clearLiveLine()
}

/** Deployments have their pods, and every pod that is not ending or at its end is ready. */
function isReady({ deployments, pods }: MeshStatus): boolean {
  const settled = ['Completed', 'Terminating']
  return (
    deployments.every(({ done }) => done) &&
    pods.every((pod) => pod.ready === pod.total || settled.includes(pod.status))
  )
}

function readyCount({ pods }: MeshStatus): string {
  return `${pods.filter((pod) => pod.ready === pod.total).length}/${pods.length}`
}

function waitingFor({ pods, deployments }: MeshStatus): string {
  const unready = pods.filter((pod) => pod.ready < pod.total && pod.status !== 'Terminating')
  if (unready.length > 0) {
    return unready.map((pod) => `${pod.name} (${pod.status}${pod.message ? `: ${pod.message}` : ''})`).join(', ')
  }
  const missing = deployments.filter(({ done }) => !done)
  return missing.map((d) => `deployment ${d.namespace}/${d.name} (${d.ready}/${d.want})`).join(', ')
}

function liveLine(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text.slice(0, (process.stdout.columns || 80) - 1)}`)
}

function clearLiveLine(): void {
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K')
}

interface HttpMatch {
  match?: { uri?: { exact?: string; prefix?: string } }[]
}

/** The address to open: the gateway's, with the first page that a VirtualService of a gateway names. */
export async function meshUrl(client: LocalClient, port: number): Promise<string> {
  const services = await client.call('list', { kind: 'VirtualService.networking.istio.io' })
  for (const { spec } of services) {
    const { gateways = [], http = [] } = spec as { gateways?: string[]; http?: HttpMatch[] }
    if (!gateways.some((gateway) => gateway !== 'mesh')) continue
    const uri = http
      .flatMap(({ match }) => match ?? [])
      .map((m) => m.uri?.exact ?? m.uri?.prefix)
      .find((path) => path)
    if (uri) return `http://127.0.0.1:${port}${uri}`
  }
  return `http://127.0.0.1:${port}`
}
