// Records what real istioctl (.istiod/istioctl) says of random meshes: `node test/conformance/analysis/record.ts DATA FROM
// TO` keeps those of the seeds FROM to TO - 1 whose messages are of a new kind. DATA is the folder of the recorded suites.
import { writeFileSync } from 'node:fs'
import type { KubeObject } from '../../../src/cluster/index.ts'
import { istioctl } from '../istioctl/istioctl.ts'
import { KubeApi } from '../istioctl/kube-api.ts'
import { mesh, readPool } from './meshes.ts'

interface Message {
  readonly code: string
  readonly level: string
  readonly origin?: string
  readonly message: string
}

/** Compared elsewhere, or about the CRDs of the cluster. */
const LEFT_OUT = new Set(['IST0106', 'IST0133', 'IST0176'])
/** Meshes kept for each kind of message, and meshes without any. */
const ENOUGH = 2
const ENOUGH_CLEAN = 3

const [data = '', from = '0', to = '0'] = process.argv.slice(2)
const pool = readPool(data)
let objects: readonly KubeObject[] = []
const api = await KubeApi.start({ objects: () => objects })
const recorded: { id: string; objects: readonly KubeObject[]; messages: string[] }[] = []
const counts = new Map<string, number>()
for (let seed = Number(from); seed < Number(to); seed++) {
  objects = mesh(seed, pool)
  const said = await messagesOf(seed)
  if (said === null) continue
  const kinds = new Set(said.map(kindOf))
  const fresh = [...kinds].some((kind) => (counts.get(kind) ?? 0) < ENOUGH)
  const clean = said.length === 0 && recorded.filter(({ messages }) => messages.length === 0).length < ENOUGH_CLEAN
  if (!fresh && !clean) continue
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  const messages = said.map(({ code, level, origin = '', message }) => `${code} ${level} ${origin} ${message}`).sort()
  recorded.push({ id: `mesh-${seed}`, objects, messages })
}
writeFileSync(
  new URL('recorded.json.golden', import.meta.url),
  `[\n${recorded.map((one) => JSON.stringify(one)).join(',\n')}\n]\n`,
)
console.log(`${recorded.length} meshes, ${counts.size} kinds of messages`)
api.close()

/** Null, with a word: what istioctl printed is no list of messages. */
async function messagesOf(seed: number): Promise<Message[] | null> {
  const { stdout, stderr } = await istioctl(api.kubeconfig(), ['analyze', '-A', '-o', 'json'])
  const start = /^\[/m.exec(stdout)?.index
  try {
    return (JSON.parse(stdout.slice(start)) as Message[]).filter(({ code }) => !LEFT_OUT.has(code))
  } catch {
    console.error(`mesh-${seed} is left out: ${(stderr || stdout).slice(0, 200)}`)
    return null
  }
}

/** A message without its names and numbers. */
function kindOf({ code, message }: Message): string {
  return code + message.replace(/".*?"|\[.*?\]|\d+|[a-z-]+\/[a-z-]+/g, '#').slice(0, 60)
}
