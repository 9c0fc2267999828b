// `x describe` of every pod and service of a mesh, word for word as real istioctl said (describe/record.ts).
import { readFileSync } from 'node:fs'
import { UserError } from '../../../src/base/errors.ts'
import type { MeshObject } from '../../../src/cli/access.ts'
import { type DescribedMesh, describePod, describeService } from '../../../src/cli/describe/index.ts'
import { ConfigDump } from '../../../src/cli/envoy/config-dump.ts'
import { configDump, hasProxy, OBJECTS, RECORDED, type Recorded } from '../describe/cluster.ts'
import type { Difference, Suite } from '../suite.ts'

const of = (kind: string): MeshObject[] => OBJECTS.filter((object) => object.kind === kind)
const MESH: DescribedMesh = {
  services: of('Service'),
  pods: of('Pod'),
  destinationRules: of('DestinationRule'),
  virtualServices: of('VirtualService'),
  gateways: of('Gateway'),
  peerAuthentications: of('PeerAuthentication'),
  rootNamespace: 'istio-system',
  dumpOf: async (pod) => {
    const object = OBJECTS.find(({ kind, metadata }) => kind === 'Pod' && metadata.name === pod.metadata.name)!
    if (!hasProxy(object)) throw new UserError('nobody listens there')
    return new ConfigDump(await configDump(object))
  },
}

export const suite: Suite = {
  name: 'istioctl-describe',
  async run() {
    const cases = JSON.parse(readFileSync(RECORDED, 'utf8')) as readonly Recorded[]
    const differences: Difference[] = []
    for (const { args, exit, stdout } of cases) {
      const ours = await describe(args)
      if (ours.exit === exit && ours.stdout === singleBlanks(stdout)) continue
      differences.push({
        id: args.join(' '),
        message: `exit ${ours.exit}, printed\n${ours.stdout}instead of\n${stdout}`,
      })
    }
    return { total: cases.length, differences }
  },
}

/** Go's text format has one blank or two between fields, by the build. */
function singleBlanks(text: string): string {
  return text.replaceAll(/(?<=[}"\w]) {2}(?=\w+:)/g, ' ')
}

async function describe(args: readonly string[]): Promise<{ stdout: string; exit: number }> {
  const [kind, text = ''] = args
  const flag = args.indexOf('-n')
  const asked = flag < 0 ? 'default' : args[flag + 1]!
  const [name, namespace = asked] = text.split('.')
  const options = { namespace: asked, ignoreUnmeshed: args.includes('--ignoreUnmeshed') }
  const list = kind === 'pod' ? MESH.pods : MESH.services
  const object = list.find(({ metadata }) => metadata.name === name && metadata.namespace === namespace)!
  let stdout = ''
  try {
    await (kind === 'pod' ? describePod : describeService)(MESH, object, options, (part) => (stdout += part))
    return { stdout, exit: 0 }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return { stdout, exit: error.exitCode }
  }
}
