import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import { VERSION } from '../../base/version.ts'
import { localAccess } from '../envoy/source.ts'
import { outputFormat, printStructured } from '../output.ts'

interface Options {
  readonly output: string
  readonly remote: boolean
  readonly short?: boolean
}

interface Remote {
  readonly controlPlane: string
  /** Version → number of proxies. */
  readonly dataPlane: ReadonlyMap<string, number>
}

/** `outrigger version`: of this program and, when a mesh runs, of its control plane and proxies. */
export function register(program: Command): void {
  program
    .command('version')
    .description('versions of this program, the control plane and the proxies')
    .option('-o, --output <format>', 'text, json or yaml', 'text')
    .option('-s, --short', 'accepted for istioctl: the text is always short')
    .option('--no-remote', 'only this program')
    .action(async (options: Options) => {
      const format = outputFormat(options.output, ['text', 'json', 'yaml'])
      const remote = options.remote ? await readRemote() : null
      if (format === 'text') printText(VERSION, remote)
      else await printStructured(structured(VERSION, remote), format)
    })
}

/** null when no mesh runs here. */
async function readRemote(): Promise<Remote | null> {
  const access = await localAccess()
  try {
    const version = await access.pilotRequest('/version')
    const proxies = JSON.parse((await access.pilotRequest('/debug/syncz')).body) as { istio_version?: string }[]
    const counts = new Map<string, number>()
    for (const { istio_version: name = 'unknown' } of proxies) counts.set(name, (counts.get(name) ?? 0) + 1)
    return { controlPlane: version.body.trim().replace(/^.*\//, ''), dataPlane: counts }
  } catch (error) {
    if (error instanceof UserError) return null
    throw error
  }
}

function printText(client: string, remote: Remote | null): void {
  console.log(`client version: ${client}`)
  if (!remote) return
  console.log(`control plane version: ${remote.controlPlane}`)
  const proxies = [...remote.dataPlane].map(
    ([version, count]) => `${version} (${count} ${count === 1 ? 'proxy' : 'proxies'})`,
  )
  console.log(`data plane version: ${proxies.join(', ') || 'none'}`)
}

function structured(client: string, remote: Remote | null): unknown {
  const clientVersion = { version: client }
  if (!remote) return { clientVersion }
  return {
    clientVersion,
    meshVersion: [{ Component: 'pilot', Info: { version: remote.controlPlane } }],
    dataPlaneVersion: [...remote.dataPlane].flatMap(([version, count]) =>
      new Array(count).fill({ IstioVersion: version }),
    ),
  }
}
