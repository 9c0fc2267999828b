// The same case given to our control plane.
import { type KubeObject, MemoryStore } from '../../../src/cluster/index.ts'
import { parseMeshConfig, parseMeshNetworks } from '../../../src/config/index.ts'
import { DiscoveryState } from '../../../src/pilot/discovery-state.ts'
import type { PushContext } from '../../../src/pilot/model/push-context.ts'
import type { ObjectStatus } from '../../../src/pilot/status.ts'
import { untranslated } from '../../../src/pilot/untranslated.ts'
import { type Answers, askEverything } from '../ads.ts'
import { type AskAbout, askerOf } from '../asker.ts'
import type { ProxyDescription } from '../pilot.ts'
import type { Case } from './generate/case.ts'

/** Our push context of a case, and the objects that validation refuses with the reason. */
export interface Loaded {
  readonly push: PushContext
  /** What statuses should say. */
  readonly statuses: readonly ObjectStatus[]
  readonly refused: ReadonlyMap<KubeObject, string>
}

export function load({ objects, mesh, networks }: Case): Loaded {
  const parsed = parseMeshConfig(mesh)
  if (!parsed.ok) throw new Error(`MeshConfig: ${parsed.problems.map((p) => `${p.path}: ${p.message}`).join('; ')}`)
  const parsedNetworks = parseMeshNetworks(networks)
  if (!parsedNetworks.ok) throw new Error(`MeshNetworks: ${parsedNetworks.problems[0]!.message}`)
  const refused = new Map<KubeObject, string>()
  const state = new DiscoveryState({
    domain: 'cluster.local',
    clusterId: 'Kubernetes',
    mesh: parsed.value,
    meshNetworks: parsedNetworks.value,
    untranslated,
    report: (object, problems) => {
      const error = problems.find(({ level }) => level === 'error')
      if (error) refused.set(object, `${object.kind}: ${error.path} ${error.message}`)
    },
  })
  const store = new MemoryStore()
  store.put(objects.map((object) => ({ object })))
  state.load(store)
  const { push, statuses } = state.commit()
  return { push, statuses, refused }
}

/**
 * The case without what our validation refuses: istiod's webhook would not let it in either. `refusals` counts the reasons.
 */
export function acceptable(input: Case, refusals: Map<string, number>): Case {
  const { refused } = load(input)
  for (const reason of refused.values()) refusals.set(reason, (refusals.get(reason) ?? 0) + 1)
  const keys = new Set(
    [...refused.keys()].map(({ kind, metadata }) => `${kind}/${metadata.namespace}/${metadata.name}`),
  )
  return {
    ...input,
    objects: input.objects.filter(({ kind, metadata }) => !keys.has(`${kind}/${metadata.namespace}/${metadata.name}`)),
  }
}

const askers = new WeakMap<PushContext, AskAbout>()

export function ourAnswers(description: ProxyDescription, push: PushContext): Promise<Answers> {
  let ask = askers.get(push)
  if (!ask) askers.set(push, (ask = askerOf(push)))
  return askEverything(description, (type, names) => ask(description, type, names))
}
