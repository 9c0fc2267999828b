// Real istiod's discovery server, started with one case.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { JsonValue } from '@bufbuild/protobuf'
import { stringify } from 'yaml'
import type { Case } from './generate/case.ts'

/** The server that `node scripts/build-istiod.mjs` builds, or OUTRIGGER_ISTIOD. */
export const ISTIOD: string =
  process.env.OUTRIGGER_ISTIOD ?? fileURLToPath(new URL('../../../.istiod/discovery', import.meta.url))

export const istiodExists = (): boolean => existsSync(ISTIOD)

/** A case as the YAML that both control planes are given. */
export function caseYaml({ objects }: Pick<Case, 'objects'>): string {
  return objects.map((object) => stringify(object, { lineWidth: 0 })).join('---\n')
}

/**
 * What ours does without being told to: both address families, TLS of a Sidecar's ingress, XBackendTrafficPolicy. And who
 * asks is who it says it is, without a certificate.
 */
const FEATURES = {
  XDS_AUTH_PLAINTEXT: 'true',
  ISTIO_DUAL_STACK: 'true',
  ENABLE_TLS_ON_SIDECAR_INGRESS: 'true',
  PILOT_ENABLE_ALPHA_GATEWAY_API: 'true',
}

/** Istiod finds a resource invalid that we accept. */
export class RefusedByIstiod extends Error {}

/** Istiod ends by a panic of its own. */
export class IstiodPanic extends Error {}

/** Asks istiod by its standard input (see test/interop/istiod/main.go); its answer is JSON. */
export type Ask = (command: string) => Promise<JsonValue>

/**
 * What of a proxy's answers istiod left half patched: an EnvoyFilter that it cannot merge ends its patching of all listeners
 * wherever it is then, and their order is random.
 */
export type HalfPatched = 'listeners' | 'clusters' | 'route'

export interface RunningIstiod {
  readonly address: string
  readonly ask: Ask
  /** So far. */
  readonly halfPatched: ReadonlySet<HalfPatched>
}

/** Runs `use` with an istiod that serves the case. Throws when istiod ends by itself. */
export async function withIstiod<T>(input: Case, use: (istiod: RunningIstiod) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'istiod-'))
  writeFileSync(join(folder, 'input.yaml'), caseYaml(input))
  // Quoted: to YAML 1.1, which istiod reads, OFF is no text.
  writeFileSync(join(folder, 'mesh.yaml'), stringify(input.mesh, { defaultStringType: 'QUOTE_DOUBLE' }))
  const args = ['-input', join(folder, 'input.yaml'), '-mesh', join(folder, 'mesh.yaml')]
  if (Object.keys(input.networks).length > 0) {
    writeFileSync(join(folder, 'networks.yaml'), stringify(input.networks))
    args.push('-networks', join(folder, 'networks.yaml'))
  }
  const child = spawn(ISTIOD, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...FEATURES },
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  let errors = ''
  const halfPatched = new Set<HalfPatched>()
  child.stderr.on('data', (chunk: Buffer) => {
    for (const [, what] of String(chunk).matchAll(/(listeners|clusters|route) patch caused panic/g)) {
      halfPatched.add(what as HalfPatched)
    }
    errors = (errors + chunk).slice(-20_000)
  })
  try {
    const address = await addressOf(child, () => errors)
    return await use({ address, ask: (command) => ask(child, command), halfPatched })
  } catch (error) {
    const panic = /(panic: [^\n]*)/.exec(errors)
    throw panic ? new IstiodPanic(`istiod: ${panic[1]}`) : error
  } finally {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
}

function ask(child: ChildProcess, command: string): Promise<JsonValue> {
  return new Promise((resolve, reject) => {
    let text = ''
    const onData = (chunk: Buffer): void => {
      text += chunk
      if (!text.endsWith('\n')) return
      child.stdout!.off('data', onData)
      if (text.startsWith('ok ')) resolve(JSON.parse(text.slice(3)) as JsonValue)
      else reject(new Error(`istiod: ${command}: ${text.trim()}`))
    }
    child.stdout!.on('data', onData)
    child.once('close', () => reject(new Error('istiod ended')))
    child.stdin!.write(`${command}\n`)
  })
}

function addressOf(child: ChildProcess, errors: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.stdout!.on('data', (chunk) => {
      text += chunk
      const address = /^xds (\S+)/m.exec(text)
      if (address) resolve(address[1]!)
    })
    child.once('close', () => reject(reasonIn(errors())))
    child.once('error', reject)
  })
}

/** Why istiod ends: what it finds invalid, else the first lines that are no log of its normal work. */
function reasonIn(errors: string): Error {
  const refused = /configuration is invalid: ([^\n]*)/.exec(errors)
  if (refused) return new RefusedByIstiod(refused[1]!.replace(/: $/, ''))
  const lines = errors.split('\n').filter((line) => !/^\S+\t(info|warn)\t|error\tCRD /.test(line) && line.trim() !== '')
  return new Error(`istiod ended: ${lines.slice(0, 3).join(' | ').slice(0, 600)}`)
}
