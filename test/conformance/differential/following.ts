// Proxies that follow our control plane over delta ADS through a change: what they hold must be what new ones are told.
import type { JsonValue } from '@bufbuild/protobuf'
import { createLogger } from '../../../src/base/logger.ts'
import { groupKindOf, type KubeObject, MemoryStore } from '../../../src/cluster/index.ts'
import { parseMeshConfig, parseMeshNetworks } from '../../../src/config/index.ts'
import { startPilot } from '../../../src/pilot/index.ts'
import { DeltaClient, type Followed } from '../delta-client.ts'
import type { ProxyDescription } from '../pilot.ts'
import { differences, type Found } from './difference.ts'
import type { Case } from './generate/case.ts'
import { load, ourAnswers } from './ours.ts'

type Held = Readonly<Record<Followed, readonly JsonValue[]>>

const LIMIT_MS = 20_000
const keyOf = ({ kind, metadata }: KubeObject): string => `${kind}/${metadata.namespace ?? ''}/${metadata.name}`

/** What each proxy holds after the mesh of a case has become `after`. Throws when it does not come to rest. */
async function followed(input: Case, after: readonly KubeObject[]): Promise<Map<ProxyDescription, Held>> {
  const mesh = parseMeshConfig(input.mesh)
  const networks = parseMeshNetworks(input.networks)
  if (!mesh.ok || !networks.ok) throw new Error('the mesh settings are refused')
  const store = new MemoryStore()
  store.put(input.objects.map((object) => ({ object })))
  const pilot = await startPilot({
    store,
    meshConfig: mesh.value,
    meshNetworks: networks.value,
    log: createLogger('following', 'off'),
    grpcAddr: '127.0.0.1:0',
  })
  const proxies = input.proxies.filter(({ metadata }) => metadata.GENERATOR === undefined)
  const clients = proxies.map((proxy) => new DeltaClient(pilot.addresses.grpc, proxy))
  const rest = async (): Promise<void> => {
    const deadlineMs = performance.now() + LIMIT_MS
    for (let quiet = 0; quiet < 3; ) {
      if (performance.now() > deadlineMs) throw new Error('proxies that follow do not come to rest')
      await pilot.settled(LIMIT_MS)
      await new Promise((resolve) => setTimeout(resolve, 3))
      quiet = clients.every((client) => client.quiet) ? quiet + 1 : 0
    }
  }
  try {
    await rest()
    const kept = new Set(after.map(keyOf))
    const gone = input.objects.filter((object) => !kept.has(keyOf(object)))
    store.put(after.filter((object) => !input.objects.includes(object)).map((object) => ({ object })))
    store.remove(gone.map((object) => ({ kind: groupKindOf(object), ...object.metadata })))
    await rest()
    return new Map(proxies.map((proxy, i) => [proxy, heldBy(clients[i]!)]))
  } finally {
    for (const client of clients) client.close()
    await pilot.stop()
  }
}

/** What proxies hold that followed the change from one mesh to another, beside what new ones are told. */
export async function differencesFollowing(before: Case, after: Case): Promise<Found[]> {
  const found: Found[] = []
  const { push } = load(after)
  for (const [proxy, held] of await followed(before, after.objects)) {
    const fresh = await ourAnswers(proxy, push)
    for (const { signature, lines } of differences(held, [fresh], proxy.type, new Set()))
      found.push({ proxy, difference: { signature: `after a change, ${signature}`, lines } })
  }
  return found
}

function heldBy({ held }: DeltaClient): Held {
  const entries = Object.entries(held).map(([type, resources]) => [type, [...resources.values()]] as const)
  return Object.fromEntries(entries) as Record<Followed, readonly JsonValue[]>
}
