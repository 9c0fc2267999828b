// The same case given to our generators.
import type { JsonValue } from '@bufbuild/protobuf'
import { type KubeObject, MemoryStore } from '../../../src/cluster/index.ts'
import { parseMeshConfig } from '../../../src/config/index.ts'
import { generateClusters } from '../../../src/pilot/cds/generate.ts'
import { DiscoveryState } from '../../../src/pilot/discovery-state.ts'
import { generateEndpoints } from '../../../src/pilot/eds/generate.ts'
import { generateExtensionConfigs } from '../../../src/pilot/envoy-filter/extensions.ts'
import { generateListeners } from '../../../src/pilot/lds/index.ts'
import type { ProxyNode } from '../../../src/pilot/model/node.ts'
import { placed } from '../../../src/pilot/model/placed.ts'
import type { PushContext } from '../../../src/pilot/model/push-context.ts'
import { generateNameTable } from '../../../src/pilot/nds/generate.ts'
import { generateRoutes } from '../../../src/pilot/rds/index.ts'
import type { ObjectStatus } from '../../../src/pilot/status.ts'
import { ANSWERED, type Answered, type Answers, askEverything } from '../ads.ts'
import { messageJson, type ProxyDescription, proxyNodeOf } from '../pilot.ts'
import type { Case } from './generate/case.ts'

/** Our push context of a case, and the objects that validation refuses with the reason. */
export interface Loaded {
  readonly push: PushContext
  /** What statuses should say. */
  readonly statuses: readonly ObjectStatus[]
  readonly refused: ReadonlyMap<KubeObject, string>
}

export function load({ objects, mesh }: Case): Loaded {
  const parsed = parseMeshConfig(mesh)
  if (!parsed.ok) throw new Error(`MeshConfig: ${parsed.problems.map((p) => `${p.path}: ${p.message}`).join('; ')}`)
  const refused = new Map<KubeObject, string>()
  const state = new DiscoveryState({
    domain: 'cluster.local',
    clusterId: 'Kubernetes',
    mesh: parsed.value,
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

function generate(type: Answered, names: readonly string[], proxy: ProxyNode, push: PushContext): readonly object[] {
  switch (type) {
    case 'clusters':
      return generateClusters(proxy, push)
    case 'endpoints':
      return generateEndpoints(proxy, push, new Set(names))
    case 'listeners':
      return generateListeners(proxy, push)
    case 'routes':
      return generateRoutes(proxy, push, names)
    case 'extensions':
      return generateExtensionConfigs(proxy, push, names)
    case 'names':
      return [generateNameTable(proxy, push)]
  }
}

export function ourAnswers(description: ProxyDescription, push: PushContext): Promise<Answers> {
  const proxy = placed(proxyNodeOf(description), push)
  return askEverything((type, names) =>
    generate(type, names, proxy, push).map((m) => messageJson(ANSWERED[type], m as never) as JsonValue),
  )
}
