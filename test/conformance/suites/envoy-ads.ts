import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { secretFiles } from '../../../src/agent/file-secrets.ts'
import { startSdsServer } from '../../../src/agent/sds.ts'
import { createSecretSource } from '../../../src/agent/secret-source.ts'
import { namespacesMissing } from '../../../src/agent/testing/namespace.ts'
import { createLogger } from '../../../src/base/logger.ts'
import { MemoryStore } from '../../../src/cluster/index.ts'
import { startPilot } from '../../../src/pilot/index.ts'
import type { SecretSource } from '../../../src/proxy/index.ts'
import { CertificateAuthority, SecretManager } from '../../../src/security/index.ts'
import type { WorkloadSecret } from '../../../src/security/secret-manager.ts'
import { inputsIn, networksOf, OWN_INPUTS, read } from '../inputs.ts'
import { forwardSocket, refusedLive, type Sockets } from '../live-envoy.ts'
import { type ProxyDescription, readMesh, readObjects } from '../pilot.ts'
import type { Difference, Suite } from '../suite.ts'

const log = createLogger('envoy-ads', 'off')
const SETTLE_LIMIT_MS = 30_000
/** Envoys that start at once. */
const LANES = 4

/** The least that Envoy takes for a plugin: a page of memory, the word for its ABI, and an allocator. */
const WASM_MODULE = wasmModule(['proxy_abi_version_0_2_1', 'proxy_on_memory_allocate'])

/**
 * Our pilot drives stock Envoy through the input of every golden, and inputs of our own: each proxy of it is an Envoy that
 * asks over delta ADS. None may refuse anything (NACK).
 */
export const suite: Suite = {
  name: 'envoy-ads',
  run: async (dataDirectory) => {
    const missing = namespacesMissing() || envoyMissing()
    if (missing) return { total: 0, differences: [], note: `skipped, ${missing}` }
    const scratch = mkdtempSync(join(tmpdir(), 'envoy-ads-'))
    const authority = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local' })
    const secrets = new SecretManager({
      spiffeId: 'spiffe://cluster.local/ns/default/sa/default',
      sign: (csr) => authority.signCsr(csr, ['spiffe://cluster.local/ns/default/sa/default']),
      keyType: 'ECDSA',
      log,
    })
    secrets.start()
    writeFileSync(join(scratch, 'low.wasm'), WASM_MODULE)
    const sds = await startSdsServer(join(scratch, 'sds'), await sourceIn(scratch, secrets), log)
    const differences: Difference[] = []
    let total = 0
    try {
      // Some of our own wait for a secret that nobody has, until Envoy goes on without it: those first.
      const folders = [...inputsIn(OWN_INPUTS).reverse(), ...inputsIn(join(dataDirectory, 'goldens', 'istio'))]
      const lane = async (): Promise<void> => {
        for (let folder = folders.shift(); folder !== undefined; folder = folders.shift()) {
          const outcome = await drive(folder, join(scratch, basename(folder)), join(scratch, 'sds'))
          total += outcome.total
          differences.push(...outcome.differences)
        }
      }
      await Promise.all(Array.from({ length: LANES }, lane))
    } finally {
      sds.close()
      secrets.close()
      rmSync(scratch, { recursive: true })
    }
    return { total, differences }
  },
}

/** Secrets as an agent has them; for each that names files of the pod there are such files, below `scratch`. */
async function sourceIn(scratch: string, secrets: SecretManager): Promise<SecretSource> {
  const own = await new Promise<WorkloadSecret>((resolve) => secrets.subscribe(resolve))
  const texts = { certificateChain: own.certChainPem, privateKey: own.keyPem, trustedCa: own.rootPem }
  const source = createSecretSource(secrets, log)
  return {
    ...source,
    watch: (name, onSecret) => {
      const moved = name.replaceAll('/etc/', `${scratch}/etc/`)
      for (const [field, path] of (moved === name ? null : secretFiles(moved)) ?? []) {
        mkdirSync(dirname(path), { recursive: true })
        writeFileSync(path, texts[field])
      }
      return source.watch(moved, onSecret)
    },
  }
}

/** All proxies of one input, one after the other, under a pilot of their own. */
async function drive(folder: string, dir: string, sds: string): Promise<{ total: number; differences: Difference[] }> {
  const store = new MemoryStore()
  const input = read(folder, 'input.yaml').replaceAll('file:///opt/', `file://${dirname(dir)}/`)
  store.put(readObjects(input).map((object) => ({ object })))
  const pilot = await startPilot({
    store,
    log,
    grpcAddr: '127.0.0.1:0',
    meshConfig: readMesh(read(folder, 'mesh.yaml')),
    meshNetworks: networksOf(folder),
  })
  const xds = await forwardSocket(`${dir}.xds`, pilot.addresses.grpc)
  const sockets: Sockets = { xds: `${dir}.xds`, sds }
  const proxies = JSON.parse(readFileSync(join(folder, 'proxies.json'), 'utf8')) as ProxyDescription[]
  const differences: Difference[] = []
  try {
    for (const proxy of proxies) {
      const message = await refusedLive(proxy, join(dir, proxy.name), sockets, async () =>
        (await pilot.settled(SETTLE_LIMIT_MS)).map(({ type, reason }) => `${type}: ${reason}`).join('\n'),
      )
      if (message !== '') differences.push({ id: `${basename(folder)}/${proxy.name}`, message })
    }
  } finally {
    xds.close()
    await pilot.stop()
  }
  return { total: proxies.length, differences }
}

function envoyMissing(): string | false {
  try {
    execFileSync('envoy', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'no envoy on PATH'
  }
}

/** A module that exports one page of memory as `memory` and functions of type () → (), except the last: (i32) → i32. */
function wasmModule(functions: readonly string[]): Buffer {
  const section = (id: number, bytes: readonly number[]): number[] => [id, bytes.length, ...bytes]
  const name = (text: string): number[] => [text.length, ...Buffer.from(text)]
  const last = functions.length - 1
  const body = (index: number): number[] => (index === last ? [5, 0, 0x41, 0x80, 0x08, 0x0b] : [2, 0, 0x0b])
  const exported = functions.flatMap((text, index) => [...name(text), 0, index])
  return Buffer.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f]),
    ...section(3, [functions.length, ...functions.map((_, index) => (index === last ? 1 : 0))]),
    ...section(5, [1, 0, 1]),
    ...section(7, [functions.length + 1, ...name('memory'), 2, 0, ...exported]),
    ...section(10, [functions.length, ...functions.flatMap((_, index) => body(index))]),
  ])
}
