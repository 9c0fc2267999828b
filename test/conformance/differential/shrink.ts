import type { Case } from './generate/case.ts'

type Json = { [key: string]: unknown }

/** Whether a smaller case still shows the difference; a case that cannot be served does not. */
type StillDiffers = (smaller: Case) => Promise<boolean>

/** The smallest case found that still differs, by leaving out objects and then parts of them, until `deadline` (ms). */
export async function shrink(input: Case, stillDiffers: StillDiffers, deadline: number): Promise<Case> {
  let best = input
  const attempt = async (smaller: Case): Promise<boolean> => {
    if (Date.now() > deadline || !(await stillDiffers(smaller))) return false
    best = smaller
    return true
  }
  if (Object.keys(best.mesh).length > 0) await attempt({ ...best, mesh: {} })
  if (Object.keys(best.networks).length > 0) await attempt({ ...best, networks: {} })
  await dropObjects(() => best, attempt)
  for (let again = true; again && Date.now() < deadline; ) {
    again = false
    const parts: readonly ((value: Case) => unknown)[] = [
      (value) => value.mesh,
      (value) => value.networks,
      ...best.objects.map((_, i) => (value: Case) => (whole(value.objects[i]) ? undefined : value.objects[i])),
      ...best.proxies.map((_, i) => (value: Case) => value.proxies[i]),
    ]
    for (const part of parts) again = (await dropInside(() => best, attempt, part)) || again
  }
  return best
}

/** What belongs together with other objects, and makes no sense in parts. */
function whole(object: { readonly kind: string } | undefined): boolean {
  return object !== undefined && ['Service', 'Pod', 'EndpointSlice', 'Namespace', 'Node'].includes(object.kind)
}

/** Halves, quarters, … single objects. */
async function dropObjects(current: () => Case, attempt: (smaller: Case) => Promise<boolean>): Promise<void> {
  for (let size = Math.ceil(current().objects.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < current().objects.length; ) {
      const objects = [...current().objects]
      objects.splice(at, size)
      if (!(await attempt({ ...current(), objects }))) at += size
    }
  }
}

/** What gives an object its identity stays. */
const KEPT = new Set([
  'apiVersion',
  'kind',
  'name',
  'namespace',
  'type',
  'ip',
  'pod',
  'creationTimestamp',
  'spec',
  'metadata',
])

/** Tries without each field and list entry of one part; true when anything went. */
async function dropInside(
  current: () => Case,
  attempt: (smaller: Case) => Promise<boolean>,
  part: (value: Case) => unknown,
): Promise<boolean> {
  let dropped = false
  const visit = async (path: readonly string[]): Promise<void> => {
    const value = path.reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], part(current()))
    if (typeof value !== 'object' || value === null) return
    for (const key of Array.isArray(value) ? Object.keys(value).reverse() : Object.keys(value)) {
      const isIdentity = path.length <= 1 && KEPT.has(key) && !(path[0] === 'spec' && key !== 'name')
      if (!isIdentity) {
        const smaller = structuredClone(current())
        const parent = path.reduce<unknown>((inner, step) => (inner as Json)[step], part(smaller))
        if (Array.isArray(parent)) parent.splice(Number(key), 1)
        else delete (parent as Json)[key]
        if (await attempt(smaller)) {
          dropped = true
          continue
        }
      }
      await visit([...path, key])
    }
  }
  await visit([])
  return dropped
}
