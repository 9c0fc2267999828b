// proxy-status POD: line differences between what pilot would send and what a proxy has.

import type { DescMessage, JsonObject } from '@bufbuild/protobuf'
import { camelJson } from './go-json.ts'

const CONTEXT_LINES = 3

/** Types by section name; loaded on use. */
const DESCRIPTORS: Readonly<Record<string, () => Promise<DescMessage>>> = {
  Clusters: async () => (await import('../../api/gen/envoy/config/cluster/v3/cluster_pb.js')).ClusterSchema,
  Listeners: async () => (await import('../../api/gen/envoy/config/listener/v3/listener_pb.js')).ListenerSchema,
  Routes: async () => (await import('../../api/gen/envoy/config/route/v3/route_pb.js')).RouteConfigurationSchema,
}

/** A unified difference of both lists in canonical JSON, by name; '' when they are equal. */
export async function compareResources(
  section: string,
  istiod: readonly Record<string, unknown>[],
  envoy: readonly Record<string, unknown>[],
): Promise<string> {
  const desc = await DESCRIPTORS[section]!()
  const text = async (list: readonly Record<string, unknown>[]) => {
    const canonical = (await camelJson(desc, list as JsonObject[])) as { name?: string }[]
    canonical.sort((a, b) => ((a.name ?? '') < (b.name ?? '') ? -1 : 1))
    return JSON.stringify(canonical, null, 2).split('\n')
  }
  const [left, right] = [await text(istiod), await text(envoy)]
  const hunks = unifiedHunks(left, right)
  return hunks === '' ? '' : `--- Istiod ${section}\n+++ Envoy ${section}\n${hunks}`
}

type Edit = readonly [kind: ' ' | '-' | '+', line: string]

function unifiedHunks(left: readonly string[], right: readonly string[]): string {
  const edits = diff(left, right)
  let out = ''
  let leftLine = 1
  let rightLine = 1
  let i = 0
  while (i < edits.length) {
    if (edits[i]![0] === ' ') {
      leftLine++
      rightLine++
      i++
      continue
    }
    const start = Math.max(0, i - CONTEXT_LINES)
    let end = i
    for (let quiet = 0; end < edits.length && quiet <= 2 * CONTEXT_LINES; end++) {
      quiet = edits[end]![0] === ' ' ? quiet + 1 : 0
    }
    while (end > i && edits[end - 1]![0] === ' ' && end - lastChange(edits, end) > CONTEXT_LINES + 1) end--
    const hunk = edits.slice(start, end)
    const before = i - start
    const leftCount = hunk.filter(([kind]) => kind !== '+').length
    const rightCount = hunk.filter(([kind]) => kind !== '-').length
    out += `@@ -${leftLine - before},${leftCount} +${rightLine - before},${rightCount} @@\n`
    for (const [kind, line] of hunk) out += `${kind}${line}\n`
    for (const [kind] of edits.slice(i, end)) {
      if (kind !== '+') leftLine++
      if (kind !== '-') rightLine++
    }
    i = end
  }
  return out
}

function lastChange(edits: readonly Edit[], before: number): number {
  let i = before - 1
  while (i >= 0 && edits[i]![0] === ' ') i--
  return i
}

/** Shortest edit script, greedy (Myers 1986). */
function diff(left: readonly string[], right: readonly string[]): Edit[] {
  const max = left.length + right.length
  const trace: Map<number, number>[] = []
  const furthest = new Map<number, number>([[1, 0]])
  search: for (let d = 0; d <= max; d++) {
    trace.push(new Map(furthest))
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1))
      let x = down ? furthest.get(k + 1)! : furthest.get(k - 1)! + 1
      let y = x - k
      while (x < left.length && y < right.length && left[x] === right[y]) {
        x++
        y++
      }
      furthest.set(k, x)
      if (x >= left.length && y >= right.length) break search
    }
  }
  const edits: Edit[] = []
  let x = left.length
  let y = right.length
  for (let d = trace.length - 1; d >= 0; d--) {
    const state = trace[d]!
    const k = x - y
    const down = k === -d || (k !== d && (state.get(k - 1) ?? -1) < (state.get(k + 1) ?? -1))
    const previousK = down ? k + 1 : k - 1
    const previousX = d === 0 ? 0 : state.get(previousK)!
    const previousY = d === 0 ? 0 : previousX - previousK
    while (x > previousX && y > previousY) {
      edits.push([' ', left[x - 1]!])
      x--
      y--
    }
    if (d === 0) break
    if (down) edits.push(['+', right[--y]!])
    else edits.push(['-', left[--x]!])
  }
  return edits.reverse()
}
